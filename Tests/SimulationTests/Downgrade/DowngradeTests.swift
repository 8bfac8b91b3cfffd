import FlowEngine
import Foundation
import TestSupport
import Testing

@Suite struct DowngradeTests {
    @Test(arguments: Runs.seeds(1_000)) func handshakes(_ seeds: Range<UInt64>) async {
        await Runs.each(seeds, "handshakes") { seed, trace in
            let walk = HandshakeWalk(seed: seed, trace: trace)
            walk.play()
            DowngradeTally.shared.add(walk)
            return Report(failures: walk.failures, trace: walk.world.simulation.network.trace.lines)
        }
    }
}
