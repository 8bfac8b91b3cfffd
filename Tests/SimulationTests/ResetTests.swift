import FlowEngine
import TestSupport
import Testing

/// Resets of applications and of the daemon: an error at both ends, never an end of file.
@Suite struct ResetTests {
    @Test(arguments: Runs.seeds(2_500)) func reset(_ seeds: Range<UInt64>) async {
        await Runs.each(seeds, "reset") { seed, trace in
            var random = SeededRandom(seed: seed &* 64 &+ 9)
            let setup = Simulation.Setup.drawn(&random, isClean: random.chance(0.6))
            var plans = ApplicationPlan.pair(
                &random, toServer: random.logarithmic(1000...60_000), toClient: random.logarithmic(1000...60_000))
            let limit = random.int(0...(plans.client.total + plans.client.peerTotal - 1))
            if random.chance(0.5) { plans.client.abortsAfter = limit } else { plans.server.abortsAfter = limit }
            let simulation = Simulation(seed: random.next(), setup, trace: trace)
            simulation.connect([plans])
            return simulation.report(Self.failures(simulation, setup))
        }
    }

    /// A clean stop of one daemon in the middle of it all.
    @Test(arguments: Runs.seeds(2_000)) func daemonStops(_ seeds: Range<UInt64>) async {
        await Runs.each(seeds, "daemonStops") { seed, trace in
            var random = SeededRandom(seed: seed &* 64 &+ 10)
            let setup = Simulation.Setup.drawn(&random, isClean: random.chance(0.6))
            var plans = ApplicationPlan.pair(
                &random, toServer: random.logarithmic(10_000...200_000), toClient: random.logarithmic(1000...60_000))
            plans.client.writeChunk = 500
            plans.client.writePauseMilliseconds = 1...20
            let simulation = Simulation(seed: random.next(), setup, trace: trace)
            simulation.connect([plans])
            let victim = random.chance(0.5) ? simulation.client : simulation.server
            _ = simulation.run(seconds: 100) {
                simulation.isEncrypted(simulation.client) && simulation.isEncrypted(simulation.server)
                    && simulation.applications.contains { $0.received > 2000 }
            }
            victim.shutDownEngine()
            return simulation.report(Self.failures(simulation, setup))
        }
    }

    private static func failures(_ simulation: Simulation, _ setup: Simulation.Setup) -> [String] {
        _ = simulation.run(seconds: 300) {
            simulation.applications.count == 2 && simulation.applications.allSatisfy { $0.socket.failure != nil }
        }
        _ = simulation.run(seconds: 200) { false }
        var failures: [String] = []
        let isClean = setup.toServer.loss == 0 && setup.toClient.loss == 0
        for host in [simulation.client, simulation.server] where host.pendingCount > 0 {
            failures.append("\(host.name): \(host.pendingCount) packets never answered")
        }
        let failed = simulation.applications.filter { $0.socket.failure != nil }
        let isSilent = simulation.applications.contains { $0.socket.failure == nil && !$0.isComplete }
        let isOver = simulation.applications.allSatisfy(\.isComplete)
        if !isOver && (failed.isEmpty || (isSilent && isClean)) { failures.append("no error: " + simulation.state) }
        return failures
    }
}
