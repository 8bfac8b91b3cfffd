import FlowEngine
import TestSupport
import Testing

/// Encryption required by one host or both, over every kind of path, with peers and middleboxes that know nothing of it or work against it:
/// either there is encryption or an error, and never a byte in clear of the host that requires it.
@Suite struct RequiredEncryptionTests {
    private enum Requirer: CaseIterable { case client, server, both }

    /// What is in the way.
    private enum Obstacle: CaseIterable {
        case none, unaware, off, noTEP
        case syn, synAck, thirdAck

        /// Whether there can be encryption all the same: frames show that a peer encrypts that cannot say so.
        var isHarmless: Bool { self == .none || self == .thirdAck }
    }

    /// What a middlebox puts in the place of an ENO option; nil takes it out.
    private static let replacements: [[UInt8]?] = [
        nil, nil, [69, 2], [69, 3, 0x01], [69, 4, 0x9f, 0x23], [69, 3, 0x7f],
    ]

    private static func policy(_ encryption: Policy.Encryption) -> PolicyRule {
        var rule = PolicyRule()
        rule.policy.encryption = encryption
        return rule
    }

    private static func setup(
        _ requirer: Requirer, _ obstacle: Obstacle, _ random: inout SeededRandom
    ) -> Simulation.Setup {
        var setup = Simulation.Setup.drawn(&random)
        if requirer != .server { setup.client.engine.policies = [policy(.require)] }
        if requirer != .client { setup.server.engine.policies = [policy(.require)] }
        // That of the one that does not require anything.
        let other: WritableKeyPath<Simulation.Setup, Simulation.Side> = requirer == .client ? \.server : \.client
        switch obstacle {
        case .none: break
        case .unaware: setup[keyPath: other].hasEngine = false
        case .off: setup[keyPath: other].engine.policies = [policy(.off)]
        case .noTEP: setup[keyPath: other].engine.teps = []
        case .syn: setup.meddling = (.syn, random.pick(replacements))
        case .synAck: setup.meddling = (.synAck, random.pick(replacements))
        case .thirdAck:
            setup.meddling = (.thirdAck, nil)
            // Fragments of Init1 are not recognizable.
            setup.toServer.resegmentation = 0
        }
        return setup
    }

    @Test(arguments: Runs.seeds(4_000)) func required(_ seeds: Range<UInt64>) async {
        await Runs.each(seeds, "required") { seed, trace in
            var random = SeededRandom(seed: seed &* 64 &+ 21)
            let requirer = random.pick(Requirer.allCases)
            let obstacle = random.pick(Obstacle.allCases)
            let setup = Self.setup(requirer, obstacle, &random)
            var plans = ApplicationPlan.pair(
                &random, toServer: random.logarithmic(100...20_000), toClient: random.logarithmic(100...20_000))
            // Smaller pieces are not recognizable.
            plans.client.writeChunk = max(100, plans.client.writeChunk)
            plans.server.writeChunk = max(100, plans.server.writeChunk)
            let simulation = Simulation(seed: random.next(), setup, trace: trace)
            // A client that requires nothing speaks in clear where it was not answered with ENO.
            simulation.record.mayBePlain = requirer == .server
            simulation.connect([plans])
            // Both may want what neither of them can have.
            let isPossible = obstacle.isHarmless || (requirer == .both && obstacle == .none)
            guard isPossible else { return Self.refused(simulation, requirer, obstacle) }
            var failures = simulation.runToEnd(connections: 1) + simulation.encryptionFailures
            // Lost SYNs make a client that only prefers encryption leave the option out, and such a SYN is refused.
            if requirer == .server, simulation.client.eventText.contains("synRetransmitted") { failures = [] }
            if simulation.record.visibleSegments > 0 { failures.append("seen in clear") }
            return simulation.report(failures)
        }
    }

    private static func refused(_ simulation: Simulation, _ requirer: Requirer, _ obstacle: Obstacle) -> Report {
        let isDone = simulation.run(seconds: 300) {
            simulation.client.applications.allSatisfy { $0.socket.failure != nil }
        }
        _ = simulation.run(milliseconds: 70_000) { false }
        var failures: [String] = []
        if !isDone { failures.append("\(requirer), \(obstacle): the client sees no error: \(simulation.state)") }
        for application in simulation.applications where application.received > 0 || application.sawEnd {
            failures.append("\(requirer), \(obstacle): an application received something")
        }
        if simulation.isEncrypted(simulation.client) { failures.append("it is encrypted after all") }
        return simulation.report(failures)
    }
}
