import FlowEngine
import OpenSSLProvider
import PacketWire
import Tcpcrypt
import Testing

/// What routers between the hosts take out of packets. The real kernel meets the same in `Scenarios/middlebox-options`.
@Suite struct MiddleboxTests {
    /// Lets what is under way pass, without the options that `isLost` names.
    private func settle(_ pair: Pair, without isLost: (Seen) -> UInt8?) {
        while !pair.client.toWire.isEmpty || !pair.server.toWire.isEmpty {
            for (from, to) in [(pair.client, pair.server), (pair.server, pair.client)] {
                for seen in from.takeSeen() {
                    pair.wire.append(seen)
                    to.feed(isLost(seen).map { Self.strip($0, from: seen) } ?? seen.raw, .inbound)
                }
            }
        }
    }

    private static func strip(_ option: UInt8, from seen: Seen) -> [UInt8] {
        var options = seen.options
        options.remove(option)
        return TestSegment(
            source: seen.packet.source, destination: seen.packet.destination, sequence: seen.sequence,
            acknowledgment: seen.acknowledgment, flags: seen.packet.flags, window: seen.packet.window,
            options: (0..<options.count).map { options.span[$0] }, payload: seen.payload
        ).bytes
    }

    private func noENO(_ seen: Seen) -> UInt8? {
        seen.packet.flags.contains(.syn) ? nil : TCPOptionKind.encryptionNegotiation
    }

    // MARK: ENO on the third ACK

    /// - Parameter isImpatient: whether the client's kernel answers the SYN-ACK with data.
    private func connectWithoutENOOnACK(_ pair: Pair, isImpatient: Bool = false) {
        pair.clientSends(1000, 0, .syn, mss)
        settle(pair, without: noENO)
        pair.serverSends(5000, 1001, [.syn, .ack], mss)
        settle(pair, without: noENO)
        if !isImpatient {
            pair.clientSends(1001, 5001, .ack)
            settle(pair, without: noENO)
        }
        pair.clientSends(1001, 5001, [.ack, .psh], [], [1, 2, 3])
        settle(pair, without: noENO)
    }

    private func expectEncrypted(_ pair: Pair, _ origin: Origin) {
        for host in [pair.client, pair.server] {
            let subflows = host.engine.connections().flatMap(\.subflows)
            #expect(subflows.contains { $0.state == .encrypted && $0.origin == origin })
            #expect(host.engine.counters.fallbacks == 0)
            #expect(host.held == 0)
        }
        #expect(pair.server.takeKernel().flatMap(\.payload) == [1, 2, 3])
        #expect(!pair.wire.contains { $0.payload == [1, 2, 3] })
    }

    /// Init1 shows that the peer encrypts: falling back would hand it to the application.
    @Test(arguments: [false, true]) func freshWithoutENOOnTheThirdACK(isImpatient: Bool) {
        let pair = Pair()
        connectWithoutENOOnACK(pair, isImpatient: isImpatient)
        expectEncrypted(pair, .fresh)
    }

    /// So does a frame, which is why a resuming opener sends an empty one with its third ACK.
    @Test(arguments: [false, true]) func resumedWithoutENOOnTheThirdACK(isImpatient: Bool) {
        let first = Pair()
        first.connect()
        _ = first.server.takeKernel()
        let pair = Pair(port: 40_001, client: first.client, server: first.server)
        connectWithoutENOOnACK(pair, isImpatient: isImpatient)
        expectEncrypted(pair, .resumed)
    }

    @Test func aJoinWithoutENOOnTheThirdACK() {
        let pair = Pair()
        Multipath(pair).connect()
        let other = Pair(port: 40_001, client: pair.client, server: pair.server)
        other.clientSends(2000, 0, .syn, Multipath.synOptions(joinSYN(Multipath.token(Multipath.keyB))))
        settle(other, without: noENO)
        other.serverSends(6000, 2001, [.syn, .ack], [2, 4, 5, 180, 4, 2] + joinSYNACK)
        settle(other, without: noENO)
        other.clientSends(2001, 6001, .ack, joinACK)
        settle(other, without: noENO)
        #expect(pair.server.engine.counters.joins == 1)
        #expect(pair.server.takeKernel().last.map(isJoin) == true)
    }

    /// Data that only begins like a frame is a plain peer's: the SYN-ACK has lost its option.
    @Test func plainDataInTheShapeOfAFrameIsPlain() {
        let first = Pair()
        first.connect()
        let pair = Pair(port: 40_001, client: first.client, server: first.server)
        pair.clientSends(1000, 0, .syn, mss)
        pair.settle()
        pair.serverSends(5000, 1001, [.syn, .ack], mss)
        settle(pair) { $0.packet.flags.contains(.syn) ? TCPOptionKind.encryptionNegotiation : nil }
        _ = pair.server.takeKernel()
        let data = [0, 0, 17] + [UInt8](repeating: 7, count: 17)
        pair.clientSends(1001, 5001, [.ack, .psh], [], data)
        pair.settle()
        #expect(pair.server.takeKernel().flatMap(\.payload) == data)
        #expect(pair.server.engine.counters.fallbacks == 1)
    }

    // MARK: MPTCP options

    private func noMPTCPFromClient(_ pair: Pair) -> (Seen) -> UInt8? {
        { $0.packet.source == pair.a && !$0.packet.flags.contains(.syn) ? TCPOptionKind.mptcp : nil }
    }

    /// A third ACK that lost MP_CAPABLE makes the listener's kernel fall back to TCP. It must have it: else it would wait for
    /// data, and so would a client whose server speaks first.
    @Test func aThirdACKWithoutMPCapableReachesTheKernel() {
        let pair = Pair()
        let stripped = noMPTCPFromClient(pair)
        pair.clientSends(1000, 0, .syn, Multipath.synOptions([30, 4, 1, 1]))
        settle(pair, without: stripped)
        pair.serverSends(5000, 1001, [.syn, .ack], Multipath.synOptions([30, 12, 1, 1] + Multipath.keyB))
        settle(pair, without: stripped)
        _ = pair.server.takeKernel()
        pair.clientSends(1001, 5001, .ack, Multipath.timestamps + Multipath.thirdACK)
        settle(pair, without: stripped)
        let third = pair.server.takeKernel().first
        #expect(third?.packet.flags.contains(.ack) == true)
        #expect(third?.options.contains(TCPOptionKind.mptcp) == false)
        #expect(pair.serverReport?.state == .encrypted)
    }

    /// The server's kernel fell back and only acknowledges. (Those of its engine would say that they are MPTCP's.)
    @Test func acknowledgementsWithoutMPTCPReachTheKernel() {
        let pair = Pair()
        Multipath(pair).connect()
        pair.clientSends(1001, 5001, [.ack, .psh], Multipath.timestamps + Multipath.dss, [1, 2, 3])
        pair.settle()
        _ = pair.client.takeKernel()
        pair.serverSends(5001, 1004, .ack, Multipath.timestamps)
        pair.settle()
        #expect(pair.client.takeKernel().last?.acknowledgment == 1004)
    }
}
