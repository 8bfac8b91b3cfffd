import FlowEngine
import TestSupport
import Testing

/// Every way in which encryption may not come about leaves ordinary TCP that works (RFC 8547 section 4.6).
@Suite struct FallbackTests {
    /// What a middlebox puts in the place of an ENO option; nil takes it out.
    private static let replacements: [[UInt8]?] = [
        nil,
        // Vacuous: no suboption, and global suboptions only.
        [69, 2], [69, 3, 0x01],
        // Ill-formed: a length that leads out of the option, a length byte at the end.
        [69, 4, 0x9f, 0x23], [69, 3, 0x80],
        // A TEP nobody has.
        [69, 3, 0x7f],
    ]

    @Test(arguments: Runs.seeds(3_000)) func middleboxes(_ seeds: Range<UInt64>) async {
        await Runs.each(seeds, "middleboxes") { seed, trace in
            var random = SeededRandom(seed: seed &* 64 &+ 5)
            var setup = Simulation.Setup.drawn(&random)
            let segment: HandshakeSegment = random.pick([.syn, .synAck])
            var replacement = random.pick(Self.replacements)
            if segment == .synAck, random.chance(0.2) { replacement = [69, 3, 0x23] }
            setup.meddling = (segment, replacement)
            return Self.plainRun(setup, &random, trace)
        }
    }

    /// One of the hosts has no daemon, or one that does not want to encrypt.
    @Test(arguments: Runs.seeds(1_500)) func unawarePeer(_ seeds: Range<UInt64>) async {
        await Runs.each(seeds, "unawarePeer") { seed, trace in
            var random = SeededRandom(seed: seed &* 64 &+ 6)
            var setup = Simulation.Setup.drawn(&random)
            switch random.int(0...3) {
            case 0: setup.client.hasEngine = false
            case 1: setup.server.hasEngine = false
            case 2: setup.client.engine.excludedPorts = [5001]
            default: setup.server.engine.teps = []
            }
            return Self.plainRun(setup, &random, trace)
        }
    }

    private static func plainRun(
        _ setup: Simulation.Setup, _ random: inout SeededRandom, _ trace: Bool
    ) -> Report {
        var plans = ApplicationPlan.pair(
            &random, toServer: random.logarithmic(100...60_000), toClient: random.logarithmic(0...60_000))
        // Smaller pieces are not recognizable.
        plans.client.writeChunk = max(100, plans.client.writeChunk)
        let simulation = Simulation(seed: random.next(), setup, trace: trace)
        simulation.record.mayBePlain = true
        simulation.connect([plans])
        var failures = simulation.runToEnd(connections: 1)
        for host in [simulation.client, simulation.server] where simulation.isEncrypted(host) {
            failures.append("\(host.name) thinks it is encrypted")
        }
        if simulation.record.visibleSegments == 0 { failures.append("no plaintext seen") }
        return simulation.report(failures)
    }

    /// A third ACK that loses its option: what it carries shows that the opener encrypts.
    @Test(arguments: Runs.seeds(1_000)) func strippedThirdAck(_ seeds: Range<UInt64>) async {
        await Runs.each(seeds, "strippedThirdAck") { seed, trace in
            var random = SeededRandom(seed: seed &* 64 &+ 7)
            var setup = Simulation.Setup.drawn(&random)
            setup.meddling = (.thirdAck, nil)
            // Fragments of Init1 are not recognizable.
            setup.toServer.resegmentation = 0
            let plans = ApplicationPlan.pair(
                &random, toServer: random.logarithmic(1...30_000), toClient: random.logarithmic(0...30_000))
            let simulation = Simulation(seed: random.next(), setup, trace: trace)
            simulation.connect([plans])
            var failures = simulation.runToEnd(connections: 1)
            for host in [simulation.client, simulation.server] where !simulation.isEncrypted(host) {
                failures.append("\(host.name) is not encrypted")
            }
            return simulation.report(failures)
        }
    }
}
