import FlowEngine
import PacketWire
import TestSupport
import Testing

/// MPTCP connections: joins by NEXTKEY from either end, and joins that must not be.
@Suite struct JoinTests {
    @Test(arguments: Runs.seeds(4_000)) func joins(_ seeds: Range<UInt64>) async {
        await Runs.each(seeds, "joins") { seed, trace in
            var random = SeededRandom(seed: seed &* 64 &+ 13)
            let isClean = random.chance(0.5)
            var setup = Simulation.Setup.drawn(&random, isClean: isClean)
            setup.toServer.sparesCapable = true
            setup.toClient.sparesCapable = true
            let simulation = Simulation(seed: random.next(), setup, trace: trace)
            let pair = MPTCPPair(simulation)
            var failures = pair.connect(&random)
            if failures.isEmpty, pair.isMPTCP {
                let operations = simulation.publicKeyOperations
                for index in 1...random.int(1...3) { pair.join(index, fromClient: random.chance(0.6), &random) }
                failures += simulation.runToEnd(connections: pair.opened)
                if simulation.publicKeyOperations != operations { failures.append("a join cost a key operation") }
                let joined = simulation.client.counters.joins
                if joined != simulation.server.counters.joins || (isClean && joined + 1 != pair.opened) {
                    failures.append("\(joined), \(simulation.server.counters.joins) joins of \(pair.opened - 1)")
                }
            }
            if isClean, !pair.isMPTCP { failures.append("fell back from MPTCP") }
            return simulation.report(failures)
        }
    }

    /// An outsider who knows the token, because it travelled in clear.
    @Test(arguments: Runs.seeds(1_000)) func hijack(_ seeds: Range<UInt64>) async {
        await Runs.each(seeds, "hijack") { seed, trace in
            var random = SeededRandom(seed: seed &* 64 &+ 14)
            let setup = Simulation.Setup.drawn(&random, isClean: true)
            let simulation = Simulation(seed: random.next(), setup, trace: trace)
            let pair = MPTCPPair(simulation)
            var failures = pair.connect(&random)
            guard let token = pair.serverToken, failures.isEmpty else {
                return simulation.report(failures + ["no MPTCP"])
            }
            for attempt in 0..<4 {
                simulation.server.receiveFromWire(Self.attack(simulation, token, attempt, &random))
            }
            failures += simulation.runToEnd(connections: 1)
            if pair.joinsSeenByKernel > 0 { failures.append("the kernel saw \(pair.joinsSeenByKernel) joins") }
            if simulation.server.counters.joinsRefused != 4 {
                failures.append("\(simulation.server.counters.joinsRefused) of 4 joins refused")
            }
            return simulation.report(failures)
        }
    }

    private static func attack(
        _ simulation: Simulation, _ token: UInt32, _ attempt: Int, _ random: inout SeededRandom
    ) -> WirePacket {
        var options = TCPOptions()
        options.setMaximumSegmentSize(1460)
        var join: [UInt8] = [30, 12, 0x10, 9]
        join.append(bigEndian: attempt == 3 ? ~token : token)
        join.append(bigEndian: UInt32(truncatingIfNeeded: random.next()))
        options.append(join)
        switch attempt {
        case 0: break
        case 1: options.append([69, 3, 0x23])
        default: options.append([69, 16, 0xa3] + random.bytes(13))
        }
        let header = TCPHeader(
            sequence: SequenceNumber(UInt32(truncatingIfNeeded: random.next())), acknowledgment: SequenceNumber(0),
            flags: [.syn], window: 65_535)
        let bytes = PacketBuilder.packet(
            from: Endpoint(address: simulation.address(simulation.client, 7), port: 6000 + UInt16(attempt)),
            to: Endpoint(address: simulation.address(simulation.server), port: 5001), header, options: options)
        return WirePacket(bytes)
    }
}

extension Simulation {
    var publicKeyOperations: UInt64 { client.counters.publicKeyOperations + server.counters.publicKeyOperations }
}
