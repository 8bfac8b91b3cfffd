import FlowEngine
import TestSupport
import Testing

/// An attacker on the path: streams arrive whole or the connection ends with an error. Never a wrong byte, never
/// an end of file that the peer did not sign.
@Suite struct HostileTests {
    /// Altered data and forged data packets: a connection heals, or ends with an error.
    @Test(arguments: Runs.seeds(4_000)) func forgedData(_ seeds: Range<UInt64>) async {
        await Runs.each(seeds, "forgedData") { seed, trace in
            var random = SeededRandom(seed: seed &* 64 &+ 11)
            var hostility = Hostility()
            hostility.corruption = random.pick([0, 0.01, 0.05])
            hostility.forgery = random.pick([0, 0.02, 0.1])
            hostility.garbage = random.pick([0, 0.05])
            hostility.limit = random.int(1...30)
            let simulation = Self.simulation(hostility, &random, trace)
            let isDone = simulation.run(seconds: 900) {
                simulation.applications.count == 2
                    && (simulation.applications.allSatisfy(\.isComplete) || simulation.isBroken)
            }
            _ = simulation.run(seconds: 130) { false }
            return simulation.report(isDone ? [] : ["stalled: " + simulation.state])
        }
    }

    /// Resets, ends of file, acknowledgements and flags of every kind as well: only what is delivered counts.
    @Test(arguments: Runs.seeds(4_000)) func forgedControl(_ seeds: Range<UInt64>) async {
        await Runs.each(seeds, "forgedControl") { seed, trace in
            var random = SeededRandom(seed: seed &* 64 &+ 12)
            var hostility = Hostility()
            hostility.forgesControl = true
            hostility.corruption = random.pick([0, 0.01])
            hostility.forgery = random.pick([0.02, 0.1, 0.3])
            hostility.garbage = random.pick([0, 0.05, 0.2])
            hostility.limit = random.int(1...60)
            let simulation = Self.simulation(hostility, &random, trace)
            _ = simulation.run(seconds: 300) {
                simulation.applications.count == 2
                    && (simulation.applications.allSatisfy(\.isComplete) || simulation.isBroken)
            }
            return Report(
                failures: simulation.gravest, trace: simulation.network.trace.lines, coverage: simulation.coverage)
        }
    }

    /// No FIN arrives, and the urgent mark lies: streams end where their senders ended them, and what is urgent is what they said is.
    @Test(arguments: Runs.seeds(2_000)) func flags(_ seeds: Range<UInt64>) async {
        await Runs.each(seeds, "flags") { seed, trace in
            var random = SeededRandom(seed: seed &* 64 &+ 13)
            var setup = Simulation.Setup.drawn(&random, isClean: random.chance(0.3))
            setup.losesFlags = true
            if random.chance(0.5) { (setup.client.kernel.urgentRate, setup.server.kernel.urgentRate) = (0.1, 0.1) }
            let plans = ApplicationPlan.pair(
                &random, toServer: random.logarithmic(0...100_000), toClient: random.logarithmic(0...100_000))
            let simulation = Simulation(seed: random.next(), setup, trace: trace)
            simulation.connect([plans])
            let failures = simulation.runToEnd(connections: 1)
            return simulation.report(failures + simulation.encryptionFailures + simulation.urgentFailures)
        }
    }

    private static func simulation(
        _ hostility: Hostility, _ random: inout SeededRandom, _ trace: Bool
    ) -> Simulation {
        var setup = Simulation.Setup.drawn(&random, isClean: random.chance(0.5))
        setup.hostility = hostility
        let plans = ApplicationPlan.pair(
            &random, toServer: random.logarithmic(0...100_000), toClient: random.logarithmic(0...100_000))
        let simulation = Simulation(seed: random.next(), setup, trace: trace)
        simulation.connect([plans])
        return simulation
    }
}

extension Simulation {
    /// An application saw an error.
    var isBroken: Bool { applications.contains { $0.socket.failure != nil } }

    /// What not even an attacker who forges everything may bring about.
    var gravest: [String] {
        violations.filter { !$0.contains(" kernel: ") }
    }
}
