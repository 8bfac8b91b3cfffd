import FlowEngine
import TestSupport
import Testing

/// Later connections take their keys from the first (RFC 8548 section 3.5).
@Suite struct ResumptionTests {
    @Test(arguments: Runs.seeds(200)) func resumption(_ seeds: Range<UInt64>) {
        Runs.each(seeds, "resumption") { seed, trace in
            var random = SeededRandom(seed: seed &* 8 &+ 8)
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
}
