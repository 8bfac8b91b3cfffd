import FlowEngine
import Tcpcrypt
import TestSupport

/// Draws setups of every kind.
extension Simulation.Setup {
    /// Two hosts and the path between them, as `random` will have it.
    static func drawn(_ random: inout SeededRandom, isClean: Bool = false) -> Simulation.Setup {
        var setup = Simulation.Setup()
        setup.usesIPv6 = random.chance(0.4)
        setup.client = .drawn(&random, usesIPv6: setup.usesIPv6)
        setup.server = .drawn(&random, usesIPv6: setup.usesIPv6)
        if !isClean { setup.draw(profile: random.int(0...5), &random) }
        let delay = random.logarithmic(50...40_000)
        setup.toServer.delayMicroseconds = delay
        setup.toClient.delayMicroseconds = delay
        setup.toServer.coalesces = random.chance(0.5)
        setup.toClient.coalesces = random.chance(0.5)
        return setup
    }

    private mutating func draw(profile: Int, _ random: inout SeededRandom) {
        for path in [\Simulation.Setup.toServer, \.toClient] {
            switch profile {
            case 0: break
            case 1: self[keyPath: path].loss = Double(random.int(0...50)) / 1000
            case 2:
                self[keyPath: path].reordering = Double(random.int(0...300)) / 1000
                self[keyPath: path].reorderingMicroseconds = random.logarithmic(10...20_000)
            case 3:
                self[keyPath: path].resegmentation = Double(random.int(0...500)) / 1000
                self[keyPath: path].duplication = Double(random.int(0...100)) / 1000
            case 4: self[keyPath: path].rate = random.int(100...10_000)
            default:
                self[keyPath: path].loss = Double(random.int(0...60)) / 1000
                self[keyPath: path].reordering = Double(random.int(0...100)) / 1000
                self[keyPath: path].reorderingMicroseconds = random.logarithmic(10...20_000)
                self[keyPath: path].resegmentation = Double(random.int(0...300)) / 1000
                self[keyPath: path].duplication = Double(random.int(0...50)) / 1000
            }
        }
    }
}

extension Simulation.Side {
    static func drawn(_ random: inout SeededRandom, usesIPv6: Bool) -> Simulation.Side {
        var side = Simulation.Side()
        side.mtu = random.chance(0.5) ? 1500 : random.pick(usesIPv6 ? [1280, 1492, 9000] : [600, 1280, 1492, 9000])
        side.kernel = .drawn(&random, mtu: side.mtu)
        side.engine.maximumFrameData = random.pick([14_000, 14_000, 14_000, 1000, 4000, 65_000])
        // Chosen by what was drawn already: the seeds that are known keep their runs.
        if side.kernel.sendBuffer % 3 == 0 { side.engine.mostBytesUnderKey = UInt64(side.kernel.sendBuffer / 16) }
        if side.kernel.sendBuffer % 4 != 1 { side.engine.teps = [.curve25519MPTCP, .curve25519] }
        if side.kernel.receiveBuffer % 3 == 0 {
            side.engine.oldestKeyMilliseconds = Int64(side.kernel.receiveBuffer % 500 + 20)
        }
        return side
    }
}

extension KernelConfiguration {
    static func drawn(_ random: inout SeededRandom, mtu: Int) -> KernelConfiguration {
        var kernel = KernelConfiguration()
        kernel.mtu = mtu
        kernel.usesTimestamps = random.chance(0.7)
        kernel.usesSACK = random.chance(0.85)
        kernel.windowScale = random.chance(0.15) ? nil : random.pick([0, 2, 7, 10])
        kernel.receiveBuffer = random.logarithmic(max(8192, 4 * mtu)...512_000)
        kernel.sendBuffer = random.logarithmic(16_384...512_000)
        kernel.initialWindow = random.pick([2, 4, 10, 10, 10])
        kernel.usesGSO = random.chance(0.6)
        kernel.usesNagle = random.chance(0.2)
        kernel.keepAliveMilliseconds = random.chance(0.2) ? Int64(random.int(300...5000)) : nil
        kernel.delayedAckMilliseconds = random.pick([1, 40, 40, 200])
        kernel.usesQuickAcks = random.chance(0.5)
        kernel.defersThirdAck = random.chance(0.1)
        kernel.dropRate = random.chance(0.1) ? 0.01 : 0
        kernel.reboundaryRate = random.pick([0, 0.3, 0.8])
        kernel.urgentRate = random.pick([0, 0, 0, 0.1])
        return kernel
    }
}

extension ApplicationPlan {
    /// A pair of plans: what the client sends the server reads, and the other way round.
    static func pair(_ random: inout SeededRandom, toServer: Int, toClient: Int, number: UInt8 = 0)
        -> (client: ApplicationPlan, server: ApplicationPlan)
    {
        let up = PatternStream(number: number &* 2 &+ 1)
        let down = PatternStream(number: number &* 2 &+ 2)
        var client = ApplicationPlan(stream: up, total: toServer, peerStream: down, peerTotal: toClient)
        var server = ApplicationPlan(stream: down, total: toClient, peerStream: up, peerTotal: toServer)
        client.drawPace(&random)
        server.drawPace(&random)
        return (client, server)
    }

    private mutating func drawPace(_ random: inout SeededRandom) {
        if random.chance(0.4) {
            writeChunk = max(total / 40, random.logarithmic(1...100_000))
            writePauseMilliseconds = 0...random.pick([0, 2, 20])
        }
        if random.chance(0.4) {
            readChunk = max(peerTotal / 100, random.logarithmic(100...100_000))
            readPauseMilliseconds = 0...random.pick([0, 2, 20])
            stallRate = random.pick([0, 0, 0.05])
        }
        closesAfterReading = false
    }
}
