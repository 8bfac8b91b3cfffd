import FlowEngine
import TestSupport
import Testing

/// Later connections take their keys from the first (RFC 8548 section 3.5).
@Suite struct ResumptionTests {
    @Test(arguments: Runs.seeds(2_500)) func resumption(_ seeds: Range<UInt64>) async {
        await Runs.each(seeds, "resumption") { seed, trace in
            var random = SeededRandom(seed: seed &* 64 &+ 8)
            let setup = Simulation.Setup.drawn(&random)
            let simulation = Simulation(seed: random.next(), setup, trace: trace)
            var failures: [String] = []
            for round in 0..<random.int(2...4) {
                let count = round == 0 ? 1 : random.int(1...3)
                let operations = simulation.client.counters.publicKeyOperations
                let plans = (0..<count).map { index in
                    ApplicationPlan.pair(
                        &random, toServer: random.logarithmic(0...20_000), toClient: random.logarithmic(0...20_000),
                        number: UInt8(round * 4 + index))
                }
                simulation.connect(plans, clientPort: 40_000 + UInt16(round) * 100)
                failures += simulation.runToEnd(connections: count)
                let isFresh = simulation.client.counters.publicKeyOperations > operations
                if isFresh != (round == 0) { failures.append("round \(round): fresh is \(isFresh)") }
                failures += simulation.violations
                simulation.client.forgetApplications()
                simulation.server.forgetApplications()
                if !failures.isEmpty { break }
            }
            let origins = simulation.client.eventText + "|" + simulation.server.eventText
            return simulation.report(failures.isEmpty ? [] : failures + [origins])
        }
    }

    /// The same addresses and ports again, soon after, while one end lingers in TIME-WAIT.
    @Test(arguments: Runs.seeds(2_000)) func portReuse(_ seeds: Range<UInt64>) async {
        await Runs.each(seeds, "portReuse") { seed, trace in
            var random = SeededRandom(seed: seed &* 64 &+ 15)
            var setup = Simulation.Setup.drawn(&random)
            // TIME-WAIT may cost a SYN already.
            setup.toServer.lossesOfSYN = 0
            setup.toClient.lossesOfSYN = 0
            let simulation = Simulation(seed: random.next(), setup, trace: trace)
            var failures: [String] = []
            for round in 0..<random.int(2...4) {
                var plans = ApplicationPlan.pair(
                    &random, toServer: random.logarithmic(0...10_000), toClient: random.logarithmic(0...10_000),
                    number: UInt8(round))
                if random.chance(0.5) { plans.client.closesAfterReading = true }
                simulation.connect([plans])
                failures += simulation.runToEnd(connections: 1, linger: Int64(random.logarithmic(1...20_000)))
                // TIME-WAIT and a loss together may cost two SYNs: then the third goes without ENO.
                if simulation.hasWithdrawnENO { return simulation.report(failures, mayBePlain: true) }
                failures += simulation.violations + simulation.encryptionFailures
                simulation.client.forgetApplications()
                simulation.server.forgetApplications()
                if !failures.isEmpty { break }
            }
            return simulation.report(failures)
        }
    }
}

extension Simulation {
    /// The client had to take the last connection for one whose path dislikes TCP-ENO.
    fileprivate var hasWithdrawnENO: Bool {
        if case .fellBack(_, .synRetransmitted) = client.events.last { true } else { false }
    }
}
