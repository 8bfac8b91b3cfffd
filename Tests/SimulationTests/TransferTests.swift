import FlowEngine
import TestSupport
import Testing

/// Streams of every size and pace over paths of every kind arrive whole, and encrypted.
@Suite struct TransferTests {
    @Test(arguments: Runs.seeds(8_000)) func bulk(_ seeds: Range<UInt64>) async {
        await Runs.each(seeds, "bulk") { seed, trace in
            var random = SeededRandom(seed: seed &* 64 &+ 1)
            let setup = Simulation.Setup.drawn(&random)
            let plans = ApplicationPlan.pair(
                &random, toServer: random.logarithmic(0...300_000), toClient: random.logarithmic(0...300_000))
            let simulation = Simulation(seed: random.next(), setup, trace: trace)
            simulation.connect([plans])
            let failures = simulation.runToEnd(connections: 1)
            return simulation.report(failures + simulation.encryptionFailures + simulation.urgentFailures)
        }
    }

    /// Requests and answers in turn, either side speaking first.
    @Test(arguments: Runs.seeds(4_000)) func interactive(_ seeds: Range<UInt64>) async {
        await Runs.each(seeds, "interactive") { seed, trace in
            var random = SeededRandom(seed: seed &* 64 &+ 2)
            let setup = Simulation.Setup.drawn(&random)
            let plans = Self.dialogue(&random)
            let simulation = Simulation(seed: random.next(), setup, trace: trace)
            simulation.connect([plans])
            let failures = simulation.runToEnd(connections: 1)
            return simulation.report(failures + simulation.encryptionFailures + simulation.urgentFailures)
        }
    }

    static func dialogue(_ random: inout SeededRandom) -> (client: ApplicationPlan, server: ApplicationPlan) {
        let turns = random.int(1...15)
        let requests = (0..<turns).map { _ in random.logarithmic(1...10_000) }
        let answers = (0..<turns).map { _ in random.logarithmic(1...20_000) }
        let serverFirst = random.chance(0.4)
        let first = serverFirst ? answers : requests
        let second = serverFirst ? requests : answers
        var leading: [(afterReading: Int, writeUpTo: Int)] = []
        var following: [(afterReading: Int, writeUpTo: Int)] = [(0, 0)]
        for turn in 0..<turns {
            leading.append((second[..<turn].reduce(0, +), first[...turn].reduce(0, +)))
            following.append((first[...turn].reduce(0, +), second[...turn].reduce(0, +)))
        }
        var plans = ApplicationPlan.pair(
            &random, toServer: requests.reduce(0, +), toClient: answers.reduce(0, +))
        plans.client.gates = serverFirst ? following : leading
        plans.server.gates = serverFirst ? leading : following
        return plans
    }

    /// One side closes long before the other, which goes on writing.
    @Test(arguments: Runs.seeds(3_000)) func halfClose(_ seeds: Range<UInt64>) async {
        await Runs.each(seeds, "halfClose") { seed, trace in
            var random = SeededRandom(seed: seed &* 64 &+ 3)
            let setup = Simulation.Setup.drawn(&random)
            var plans = ApplicationPlan.pair(
                &random, toServer: random.logarithmic(0...30_000), toClient: random.logarithmic(0...60_000))
            switch random.int(0...2) {
            case 0: plans.client.closesAfterReading = true
            case 1: plans.server.closesAfterReading = true
            default: plans.server.gates = [(0, 0), (plans.server.peerTotal, plans.server.total)]
            }
            let simulation = Simulation(seed: random.next(), setup, trace: trace)
            simulation.connect([plans])
            let failures = simulation.runToEnd(connections: 1)
            return simulation.report(failures + simulation.encryptionFailures + simulation.urgentFailures)
        }
    }

    /// The model itself, without engines: what fails here is no engine's fault.
    @Test(arguments: Runs.seeds(1_500)) func withoutEngines(_ seeds: Range<UInt64>) async {
        await Runs.each(seeds, "withoutEngines") { seed, trace in
            var random = SeededRandom(seed: seed &* 64 &+ 4)
            var setup = Simulation.Setup.drawn(&random)
            setup.client.hasEngine = false
            setup.server.hasEngine = false
            let plans = ApplicationPlan.pair(
                &random, toServer: random.logarithmic(0...300_000), toClient: random.logarithmic(0...300_000))
            let simulation = Simulation(seed: random.next(), setup, trace: trace)
            simulation.record.mayBePlain = true
            simulation.connect([plans])
            let failures = simulation.runToEnd(connections: 1)
            return simulation.report(failures + simulation.urgentFailures)
        }
    }
}
