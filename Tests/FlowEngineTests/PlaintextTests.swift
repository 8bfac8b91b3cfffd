import FlowEngine
import OpenSSLProvider
import PacketWire
import Tcpcrypt
import Testing

/// Where an encrypted connection might go on in clear.
@Suite struct PlaintextTests {
    /// Anybody's SYN absolves a flow that was encrypted when an earlier daemon died.
    @Test func aForgedSYNDoesNotAbsolveACondemnedFlow() {
        let host = TestHost(seed: 1)
        let here = Endpoint(address: IPAddress(ipv4: 0x0a00_0002), port: 80)
        host.engine.condemn(
            [CondemnedFlow(tuple: FlowTuple(local: here, remote: stranger), keys: MPTCPKeys(local: 1, remote: 2))],
            now: host.now)
        host.arrive(stranger, here, 4711, 0, .syn, mss)
        host.leave(here, stranger, 100, 200, [.ack, .psh], [], Array("secret".utf8))
        #expect(!host.takeSeen().contains { $0.payload == Array("secret".utf8) })
    }

    /// The same for a flow that ended in this daemon's time.
    @Test func aForgedSYNDoesNotAbsolveADepartedFlow() {
        let pair = Pair()
        pair.connect()
        guard let last = pair.wire.last(where: { $0.packet.source == pair.a }) else { return }
        pair.server.arrive(pair.a, pair.b, last.sequence &+ UInt32(last.payload.count), 0, .rst)
        pair.server.advance(milliseconds: 6000)
        _ = pair.server.takeWire()
        pair.server.arrive(pair.a, pair.b, 4711, 0, .syn, mss)
        pair.serverSends(5001, 1001, [.ack, .psh], [], Array("secret".utf8))
        #expect(!pair.server.takeSeen().contains { $0.payload == Array("secret".utf8) })
    }

    /// Between SYN-ACK and third ACK a SYN with another ISN takes the place of the flow: the kernel ignores it, the engine
    /// goes plain, and Init1 becomes application data.
    @Test func aForgedSYNDoesNotReplaceAHalfOpenConnection() {
        let pair = Pair()
        pair.clientSends(1000, 0, .syn, mss)
        pair.settle()
        pair.serverSends(5000, 1001, [.syn, .ack], mss)
        pair.settle()
        pair.server.arrive(pair.a, pair.b, 4711, 0, .syn, mss)
        _ = pair.server.takeKernel()
        pair.clientSends(1001, 5001, .ack)
        pair.settle()
        #expect(pair.server.takeKernel().allSatisfy { $0.payload.isEmpty })
        pair.serverSends(5001, 1001, [.ack, .psh], [], Array("banner".utf8))
        #expect(!pair.server.takeSeen().contains { $0.payload == Array("banner".utf8) })
    }

    /// A clean stop takes MPTCP flows out of the journal, by which the daemon destroys the sockets that are left, without
    /// destroying them: if the MP_FASTCLOSE gets lost, the kernel goes on in clear.
    @Test func aCleanStopKeepsFlowsForTheFinalDestruction() {
        let pair = Pair()
        Multipath(pair).connect()
        pair.server.actions = []
        pair.server.engine.shutDown(now: pair.server.now, into: &pair.server.output)
        pair.server.drain()
        let tuple = FlowTuple(local: pair.b, remote: pair.a)
        let isForgotten = pair.server.actions.contains(.journalRemove(tuple))
        let isDestroyed = pair.server.actions.contains(.destroySocket(tuple))
        #expect(!isForgotten || isDestroyed)
    }

    /// A SYN repeated while the SYN-ACK waited in the queue: the rules give every SYN of ours the mark "plain", an outbound verdict
    /// keeps it, and the table of marks saves it, so letting it pass takes an encrypted connection out of the queue.
    @Test func aRepeatedSYNBehindItsSYNACKDoesNotPass() {
        let pair = Pair()
        pair.clientSends(1000, 0, .syn, mss)
        pair.settle()
        pair.serverSends(5000, 1001, [.syn, .ack], mss)
        pair.settle()
        #expect(pair.client.takeKernel().last?.packet.flags == [.syn, .ack])
        pair.clientSends(1000, 0, .syn, mss)
        #expect(!pair.client.takeSeen().contains { $0.packet.flags.contains(.syn) })
    }

    /// A SYN-ACK that arrives while the daemon stops must not begin an encrypted connection.
    @Test func nothingBecomesEncryptedWhileStopping() {
        let pair = Pair()
        pair.clientSends(1000, 0, .syn, mss)
        pair.settle()
        for _ in 0..<2 {
            pair.client.engine.shutDown(now: pair.client.now, into: &pair.client.output)
            pair.client.drain()
        }
        pair.serverSends(5000, 1001, [.syn, .ack], mss)
        pair.settle()
        pair.clientSends(1001, 5001, .ack)
        #expect(!pair.client.takeSeen().contains { $0.hasENO || !$0.payload.isEmpty })
    }
}
