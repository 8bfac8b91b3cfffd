import FlowEngine
import TestSupport
import Testing

/// The path takes less than it did, in mid-transfer, in one direction or in both.
@Suite struct PathMTUTests {
    /// Routers say so.
    @Test(arguments: Runs.seeds(2_000)) func narrowing(_ seeds: Range<UInt64>) async {
        await Runs.each(seeds, "narrowing") { seed, trace in
            var random = SeededRandom(seed: seed &* 64 &+ 40)
            return Self.run(&random, isSilent: false, trace)
        }
    }

    /// Nobody says so: the kernel tries shorter segments, and nothing that leaves here may be longer.
    @Test(arguments: Runs.seeds(600)) func blackHole(_ seeds: Range<UInt64>) async {
        await Runs.each(seeds, "blackHole") { seed, trace in
            var random = SeededRandom(seed: seed &* 64 &+ 41)
            return Self.run(&random, isSilent: true, trace)
        }
    }

    private static func run(_ random: inout SeededRandom, isSilent: Bool, _ trace: Bool) -> Report {
        var setup = Simulation.Setup.drawn(&random, isClean: random.chance(0.5))
        let isRealistic = random.chance(0.5)
        for side in [\Simulation.Setup.client, \.server] {
            if isRealistic { setup[keyPath: side].mtu = 1500 }
            setup[keyPath: side].kernel.mtu = setup[keyPath: side].mtu
            setup[keyPath: side].kernel.probesPath = isSilent
        }
        let mtus = setup.usesIPv6 ? [1280, 1290, 1299, 1300, 1400, 1480] : [576, 600, 1000, 1280, 1400, 1480]
        let draw = { (random: inout SeededRandom) -> NarrowLink.Narrowing? in
            // Nothing is left that a kernel which begins at 1024 bytes could try.
            let mtu = isSilent ? random.pick([1280, 1400]) : random.pick(mtus)
            return NarrowLink.Narrowing(
                mtu: mtu, atMilliseconds: Int64(random.logarithmic(1...2000)) - 1, isSilent: isSilent)
        }
        setup.narrowing = (draw(&random), random.chance(0.6) ? draw(&random) : nil)
        let plans = ApplicationPlan.pair(
            &random, toServer: random.logarithmic(10_000...300_000), toClient: random.logarithmic(0...300_000))
        let simulation = Simulation(seed: random.next(), setup, trace: trace)
        simulation.connect([plans])
        let failures = simulation.runToEnd(connections: 1)
        return simulation.report(failures + simulation.encryptionFailures + simulation.urgentFailures)
    }
}
