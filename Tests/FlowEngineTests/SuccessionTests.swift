import FlowEngine
import PacketWire
import Testing

/// A SYN from the wire, where an encrypted connection was: the local kernel may still have that one, whatever the wire
/// said, and must not go on with it in clear.
@Suite struct SuccessionTests {
    enum End: CaseIterable, Sendable {
        /// A reset that the kernel did not obey: it expects other data first.
        case reset
        /// The daemon died, and another one found the connection in the journal.
        case restart
    }

    /// A pair whose server is taken for ended, and its victim's next packets in K.
    private static func pair(_ end: End) -> Pair {
        let pair = Pair()
        pair.connect()
        pair.clientSends(1001, 5001, [.ack, .psh], [], [1, 2, 3, 4])
        pair.settle()
        switch end {
        case .reset:
            guard let last = pair.wire.last(where: { $0.packet.source == pair.a }) else { return pair }
            pair.server.feed(
                TestSegment(
                    source: pair.a, destination: pair.b, sequence: last.sequence &+ UInt32(last.payload.count),
                    flags: .rst
                ).bytes, .inbound)
            return pair
        case .restart:
            let fresh = Pair(client: pair.client, server: TestHost(seed: 3))
            let tuple = FlowTuple(local: pair.b, remote: pair.a)
            fresh.server.engine.condemn([CondemnedFlow(tuple: tuple, keys: nil)], now: fresh.server.now)
            fresh.server.advance(milliseconds: 0)
            return fresh
        }
    }

    private static func syn(_ pair: Pair, to host: TestHost) {
        _ = host.takeWire()
        host.feed(
            TestSegment(source: pair.a, destination: pair.b, sequence: 9000, flags: .syn, options: [2, 4, 5, 180])
                .bytes, .inbound)
    }

    @Test(arguments: End.allCases) func theOldConnectionStaysSilent(_ end: End) {
        let pair = Self.pair(end)
        Self.syn(pair, to: pair.server)
        pair.serverSends(5001, 1005, [.ack, .psh], [], [9, 9, 9])
        let sent = pair.server.takeWire().compactMap { Seen($0) }
        #expect(sent.allSatisfy { $0.payload.isEmpty })
        #expect(pair.server.actions.contains(.destroySocket(FlowTuple(local: pair.b, remote: pair.a))))
        #expect(pair.server.held == 0)
        let isPlain = pair.server.actions.contains { action in
            if case .accept(_, .plain) = action { true } else { false }
        }
        #expect(!isPlain)
    }

    /// What the kernel answers to the SYN from TIME-WAIT lets the peer end that.
    @Test(arguments: End.allCases) func theChallengePasses(_ end: End) {
        let pair = Self.pair(end)
        Self.syn(pair, to: pair.server)
        pair.serverSends(5001, 1005, .ack)
        #expect(pair.server.takeWire().compactMap { Seen($0) }.map(\.acknowledgment) == [1005])
    }

    @Test(arguments: End.allCases) func aNewConnectionWorks(_ end: End) {
        let pair = Self.pair(end)
        Self.syn(pair, to: pair.server)
        pair.serverSends(7000, 9001, [.syn, .ack], [2, 4, 5, 180])
        #expect(pair.server.takeWire().compactMap { Seen($0) }.map(\.acknowledgment) == [9001])
        _ = pair.server.takeKernel()
        let segment = TestSegment(
            source: pair.a, destination: pair.b, sequence: 9001, acknowledgment: 7001, flags: [.ack, .psh],
            payload: [5])
        pair.server.feed(segment.bytes, .inbound)
        #expect(pair.server.takeKernel().flatMap(\.payload) == [5])
        pair.serverSends(7001, 9002, [.ack, .psh], [], [6])
        #expect(pair.server.takeWire().compactMap { Seen($0) }.flatMap(\.payload) == [6])
    }
}
