import ControlProtocol
import PacketWire
import Testing

@testable import DaemonCore
@testable import FlowEngine

/// What several workers say and may do, taken together.
@Suite struct WorkerTests {
    private func subflow(_ port: UInt16, _ origin: Origin? = nil) -> SubflowReport {
        SubflowReport(
            local: Endpoint(address: IPAddress(ipv4: 1), port: port),
            remote: Endpoint(address: IPAddress(ipv4: 2), port: 80), state: .encrypted, origin: origin, tep: nil,
            aead: nil, role: nil, peerApplicationAware: nil, sessionID: [], secretIndex: nil, plainBytesIn: 0,
            plainBytesOut: 0, wireBytesIn: 0, wireBytesOut: 0, authFailures: 0, reason: nil)
    }

    private func mptcp(_ token: UInt32?, _ subflows: [SubflowReport]) -> ConnectionReport {
        ConnectionReport(isMPTCP: true, localToken: token, remoteToken: token.map { $0 + 1 }, subflows: subflows)
    }

    @Test func subflowsOfSeveralWorkersAreOneConnection() {
        let tcp = ConnectionReport(isMPTCP: false, localToken: nil, remoteToken: nil, subflows: [subflow(11)])
        // Some come twice.
        let merged = ConnectionReport.merged([
            mptcp(7, [subflow(10, .join)]), tcp, mptcp(7, [subflow(12, .fresh)]), mptcp(8, [subflow(15)]),
            mptcp(nil, [subflow(13)]), mptcp(7, [subflow(14, .join)]), mptcp(nil, [subflow(16)]), tcp,
            mptcp(7, [subflow(12, .fresh)]),
        ])
        #expect(merged.map { $0.subflows.map(\.local.port) } == [[11], [12, 10, 14], [13], [15], [16]])
        #expect(merged.map(\.localToken) == [nil, 7, nil, 8, nil])
    }

    @Test func countersAddUpByName() {
        let sum = CountersMessage.sum(of: [
            CountersMessage([.init("a", 1), .init("b", 2)]), CountersMessage([.init("b", 30), .init("a", 10)]),
        ])
        #expect(sum == CountersMessage([.init("a", 11), .init("b", 32)]))
        #expect(CountersMessage.sum(of: []).counters.isEmpty)
    }

    @Test func theHostsLimitsAreSharedOut() {
        var configuration = DaemonConfiguration()
        #expect(configuration.engineOfWorker.maximumFlows == 262_144)
        configuration.workers = 3
        let share = configuration.engineOfWorker
        #expect(share.maximumFlows == 87_382)
        #expect(share.maximumKeyExchangesPerSecond == 3_000)
        #expect(share.maximumHeldBytes < 90 << 20)
        // With a third of them, a flow of bbr over 50 ms that lost 3 % had half of plain TCP's goodput.
        #expect(share.maximumHeldPackets == 16_384 && share.maximumHeldPacketsPerFlow == 8_192)
        configuration.engine.maximumFlows = 2
        #expect(configuration.engineOfWorker.maximumFlows == 1)
        configuration.engine.maximumHeldBytes = 100
        #expect(configuration.engineOfWorker.maximumHeldBytes == 100)
    }

    @Test func everyTupleHasOneWorker() {
        for port: UInt16 in 1..<500 {
            let tuple = FlowTuple(
                local: Endpoint(address: IPAddress(ipv4: 1), port: port),
                remote: Endpoint(address: IPAddress(ipv4: 2), port: 80))
            let owners = (0..<5).filter { WorkerShare(worker: $0, workers: 5).contains(tuple) }
            #expect(owners.count == 1)
            #expect(WorkerShare(worker: 0, workers: 1).contains(tuple))
        }
    }

    /// The rules pass over two headers in front of TCP; the packet comes to worker 0, whose it is not.
    @Test func aPacketBehindManyHeadersIsKnownByItsPorts() {
        let extensions: [UInt8] = [60, 0, 1, 4, 0, 0, 0, 0, 60, 0, 1, 4, 0, 0, 0, 0, 6, 0, 1, 4, 0, 0, 0, 0]
        let tcp: [UInt8] = [0, 1, 0, 80, 0, 0, 0, 1, 0, 0, 0, 1, 0x50, 0x10, 0, 0, 0, 0, 0, 0]
        let head: [UInt8] = [0x60, 0, 0, 0, 0, UInt8(extensions.count + tcp.count), 0, 64]
        let packet = head + [UInt8](repeating: 1, count: 32) + extensions + tcp
        let owner = WorkerSteering.worker(of: 1, 80, among: 5)
        for worker in 0..<5 {
            let isOwn = WorkerShare(worker: worker, workers: 5).contains(packet.span)
            #expect(isOwn == (worker == owner))
        }
        let isOwn = WorkerShare(worker: 0, workers: 1).contains(packet.span)
        #expect(isOwn)
    }

    @Test func queuesAreTenApart() {
        var configuration = DaemonConfiguration()
        configuration.workers = 16
        #expect(configuration.queues(ofWorker: 15) == (32_000, 32_002, 32_001))
        #expect(!configuration.queuesClash)
        configuration.synQueue = configuration.mainQueue + 20
        #expect(configuration.queuesClash)
    }
}
