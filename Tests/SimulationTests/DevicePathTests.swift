import PathDevices
import TestSupport
import Testing

/// The middleboxes of the common library between two hosts without engines: what fails here is no engine's fault.
@Suite struct DevicePathTests {
    static let boxes = [
        "renumber", "split=600", "coalesce", "proxy-ack", "clear-options", "clear-options=all", "clamp-mss=500",
        "renumber split=300 coalesce=1200", "proxy-ack renumber", "loss=2% proxy-ack", "proxy-ack loss=2%",
        "proxy-ack reorder=5%:3ms duplicate=1%", "corrupt=1%", "burst=0.05%:3", "jitter=5ms",
    ]

    @Test(arguments: Runs.seeds(3_000)) func boxesWithoutEngines(_ seeds: Range<UInt64>) async {
        await Runs.each(seeds, "boxesWithoutEngines") { seed, trace in
            var random = SeededRandom(seed: seed &* 64 &+ 50)
            var setup = Simulation.Setup.drawn(&random)
            setup.client.hasEngine = false
            setup.server.hasEngine = false
            // A SYN that arrives a second time when all is over opens a connection nobody wants.
            setup.toServer.duplication = 0
            let text = random.pick(Self.boxes)
            let isSYNProxy = random.chance(0.1)
            do {
                setup.devicesToServer = try PathSpecification(parsing: isSYNProxy ? "syn-proxy=500" : text)
                if random.chance(0.7), !isSYNProxy { setup.devicesToClient = try PathSpecification(parsing: text) }
            } catch {
                return Report(failures: ["\(error)"])
            }
            let plans = ApplicationPlan.pair(
                &random, toServer: random.logarithmic(1...300_000), toClient: random.logarithmic(0...300_000))
            let simulation = Simulation(seed: random.next(), setup, trace: trace)
            simulation.record.mayBePlain = true
            simulation.connect([plans])
            let failures = simulation.runToEnd(connections: 1)
            return simulation.report(failures.map { "\(isSYNProxy ? "syn-proxy=500" : text): \($0)" })
        }
    }
}
