import PacketWire
import Testing

@testable import FlowEngine

/// Sentences of RFC 8547 sections 4.1, 4.6 and 4.7 about segments, one by one.
@Suite struct HandshakeRuleTests {
    private func options(_ seen: Seen) -> [[UInt8]] {
        seen.options.ranges(of: TCPOptionKind.encryptionNegotiation).map { range in
            range.map { seen.options.span[$0] }
        }
    }

    private func reasons(_ host: TestHost) -> [FallbackReason?] {
        host.engine.connections().flatMap(\.subflows).map(\.reason)
    }

    /// Until it hears a segment without SYN an opener puts the empty option on all it sends; and nobody does afterwards.
    @Test(arguments: [false, true]) func theEmptyOptionUntilThePeerIsHeard(isResumed: Bool) {
        let first = Pair()
        if isResumed { first.connect() }
        let pair = Pair(port: 40_001, client: first.client, server: first.server)
        pair.clientSends(1000, 0, .syn, mss)
        pair.settle()
        pair.serverSends(5000, 1001, [.syn, .ack], mss)
        pair.settle()
        _ = pair.server.takeKernel()
        pair.clientSends(1001, 5001, .ack)
        pair.clientSends(1001, 5001, [.ack, .psh], [], [1, 2, 3])
        pair.clientSends(1001, 5001, [.ack, .psh], [], [1, 2, 3])
        let unheard = pair.client.takeSeen()
        #expect(unheard.count >= (isResumed ? 3 : 1))
        #expect(unheard.allSatisfy { options($0) == [[69, 2]] })
        for seen in unheard { pair.server.feed(seen.raw, .inbound) }
        pair.settle()
        pair.serverSends(5001, 1004, .ack)
        pair.settle()
        pair.wire = []
        pair.clientSends(1004, 5001, [.ack, .psh], [], [4])
        pair.serverSends(5001, 1004, [.ack, .psh], [], [5])
        pair.settle()
        #expect(pair.wire.count >= 2 && pair.wire.allSatisfy { !$0.hasENO })
        #expect(Set(pair.server.takeKernel().flatMap(\.payload)) == [1, 2, 3, 4])
    }

    @Test func theContentsOfAnEmptyOptionAreIgnored() throws {
        let peer = HandMade(TestHost(seed: 1))
        peer.open(ack: [69, 6, 0x9f, 0x23, 0xff, 0])
        #expect(try peer.flow().phase == .encrypted)
    }

    /// Also where both would do.
    @Test func twoOptionsInASYNAreNone() throws {
        let host = TestHost(seed: 1)
        let peer = HandMade(host)
        host.arrive(peer.here, peer.there, 1000, 0, .syn, mss + [69, 3, 0x23, 69, 3, 0x23])
        host.leave(peer.there, peer.here, 5000, 1001, [.syn, .ack], mss)
        #expect(host.takeSeen().map(\.hasENO) == [false])
        #expect(reasons(host) == [.illFormedENO])

        let pair = Pair()
        pair.clientSends(1000, 0, .syn, mss)
        pair.client.arrive(pair.b, pair.a, 5000, 1001, [.syn, .ack], mss + [69, 4, 1, 0x23, 69, 4, 1, 0x23])
        _ = pair.client.takeWire()
        pair.clientSends(1001, 5001, .ack)
        #expect(pair.client.takeSeen().map(\.hasENO) == [false])
        #expect(reasons(pair.client) == [.illFormedENO])
    }

    @Test(arguments: [false, true], [1_000, 4_000] as [Int64])
    func repeatedSYNsHaveTheSameOptionOrNone(isResumed: Bool, every milliseconds: Int64) {
        let first = Pair()
        if isResumed { first.connect() }
        let pair = Pair(port: 40_001, client: first.client, server: first.server)
        _ = pair.client.takeSeen()
        for _ in 0..<6 {
            pair.clientSends(1000, 0, .syn, mss)
            pair.client.now = pair.client.now.adding(milliseconds: milliseconds)
        }
        let offers = pair.client.takeSeen().filter { $0.packet.flags == .syn }.map(options)
        let number = isResumed && milliseconds < 2_000 ? 4 : 2
        let repeated = offers.prefix { $0 == offers[0] }
        #expect(offers.count == 6 && offers[0].count == 1 && repeated.count == number)
        #expect(offers[0] != [[69, 2]] && offers[0][0].count == (isResumed ? 20 : 3))
        let others = offers.dropFirst(number)
        #expect(others.allSatisfy { $0.isEmpty })
    }

    @Test func repeatedSYNACKsHaveTheSameOption() {
        let host = TestHost(seed: 1)
        let peer = HandMade(host)
        host.arrive(peer.here, peer.there, 1000, 0, .syn, mss + [69, 3, 0x23])
        for _ in 0..<3 { host.leave(peer.there, peer.here, 5000, 1001, [.syn, .ack], mss) }
        #expect(host.takeSeen().map(options) == [[[UInt8]]](repeating: [[69, 4, 1, 0x23]], count: 3))
    }

    /// Nothing is said of ENO to somebody who said nothing, or nothing of use.
    @Test(arguments: [[], [69, 2], [69, 3, 0], [69, 3, 0x7f], [69, 4, 1, 0x23], [69, 4, 0x80, 0x23]] as [[UInt8]])
    func uselessOffersAreNotAnswered(_ offer: [UInt8]) {
        let host = TestHost(seed: 1)
        let peer = HandMade(host)
        host.arrive(peer.here, peer.there, 1000, 0, .syn, mss + offer)
        host.leave(peer.there, peer.here, 5000, 1001, [.syn, .ack], mss)
        #expect(host.takeSeen().map(\.hasENO) == [false])
        host.arrive(peer.here, peer.there, 1001, 5001, .ack, [], [1, 2, 3])
        #expect(host.takeKernel().flatMap(\.payload) == [1, 2, 3])
    }

    /// Both ends have b = 0: role negotiation fails, and the SYN-ACK goes without ENO.
    @Test func simultaneousOpenFallsBack() {
        let pair = Pair()
        pair.clientSends(1000, 0, .syn, mss)
        _ = pair.client.takeWire()
        pair.client.arrive(pair.b, pair.a, 5000, 0, .syn, mss + [69, 3, 0x23])
        #expect(pair.client.takeKernel().map(\.packet.flags) == [.syn])
        pair.clientSends(1000, 5001, [.syn, .ack], mss)
        pair.clientSends(1001, 5001, [.ack, .psh], [], [1, 2, 3])
        let sent = pair.client.takeSeen()
        #expect(sent.count == 2 && sent.allSatisfy { !$0.hasENO } && sent.last?.payload == [1, 2, 3])
        #expect(reasons(pair.client) == [.roleConflict])
    }

    // MARK: Data on SYNs

    /// Neither data nor a Fast Open cookie goes with ENO; a question for a cookie does.
    @Test func aSYNWithDataOrACookieHasNoOption() {
        let cookie: [UInt8] = [34, 10, 1, 2, 3, 4, 5, 6, 7, 8]
        for (fastOpen, data, hasENO) in [
            (cookie, [7], false), (cookie, [], false), ([], [7], false), ([34, 2], [], true),
        ]
            as [([UInt8], [UInt8], Bool)]
        {
            let pair = Pair()
            pair.clientSends(1000, 0, .syn, mss + fastOpen, data)
            let sent = pair.client.takeSeen()
            #expect(sent.map(\.hasENO) == [hasENO])
            #expect(sent.flatMap(\.payload) == data)
        }
    }

    /// The data of a SYN with ENO is for a TEP that defines it, and ours do not: it is discarded.
    @Test func dataOfASYNWithENOIsDiscarded() {
        let host = TestHost(seed: 1)
        let peer = HandMade(host)
        host.arrive(peer.here, peer.there, 1000, 0, .syn, mss + [69, 3, 0x23], [1, 2, 3])
        #expect(host.takeKernel().map(\.payload) == [[]])
        // Without ENO it is the business of both kernels.
        let other = HandMade(host, port: 8)
        host.arrive(other.here, other.there, 1000, 0, .syn, mss, [1, 2, 3])
        #expect(host.takeKernel().map(\.payload) == [[1, 2, 3]])
    }

    // MARK: Options altered on the way

    /// Ends that saw different options have different keys: nothing is delivered, and both see errors (RFC 8547 section 4.8).
    @Test(arguments: [[69, 4, 0x20, 0x23], [69, 4, 0x02, 0x23], [69, 5, 0x1c, 0x23, 0x21]] as [[UInt8]])
    func alteredOptionsPreventAConnection(_ altered: [UInt8]) {
        let pair = Pair()
        pair.clientSends(1000, 0, .syn, mss)
        #expect(pair.client.takeSeen().map(options) == [[[69, 3, 0x23]]])
        pair.server.arrive(pair.a, pair.b, 1000, 0, .syn, mss + altered)
        pair.serverSends(5000, 1001, [.syn, .ack], mss)
        pair.settle()
        pair.clientSends(1001, 5001, .ack)
        pair.settle()
        #expect(pair.clientReport?.state == .encrypted && pair.clientReport?.sessionID != pair.serverReport?.sessionID)
        _ = pair.server.takeKernel()
        pair.clientSends(1001, 5001, [.ack, .psh], [], [1, 2, 3])
        pair.clientSends(1004, 5001, [.ack, .fin])
        for _ in 0..<20 {
            pair.settle()
            pair.clientSends(1001, 5001, [.ack, .psh], [], [1, 2, 3])
            pair.client.advance(milliseconds: 1_000)
            pair.server.advance(milliseconds: 1_000)
        }
        #expect(pair.server.takeKernel().allSatisfy { $0.payload.isEmpty && !$0.packet.flags.contains(.fin) })
        #expect(pair.server.actions.contains(.log(.aborted(FlowTuple(local: pair.b, remote: pair.a), .authentication))))
    }

    // MARK: Key exchange

    /// RFC 8548 section 3.3: the segment with the last byte of Init1 or Init2 has PSH.
    @Test func initMessagesArePushed() {
        for isImpatient in [false, true] {
            let pair = Pair()
            pair.clientSends(1000, 0, .syn, mss)
            pair.settle()
            pair.serverSends(5000, 1001, [.syn, .ack], mss)
            pair.settle()
            pair.clientSends(1001, 5001, isImpatient ? [.ack, .fin] : .ack)
            pair.settle()
            for end in [pair.a, pair.b] {
                let message = pair.wire.first { $0.packet.source == end && !$0.payload.isEmpty }
                #expect(message?.packet.flags.contains(.psh) == true)
            }
        }
    }

    /// What may not be in Init1 and Init2 is an error at both ends, and no end of file (RFC 8548 section 3.3): a public key that fails
    /// validation, an AEAD that was not offered, no message at all.
    @Test(arguments: [
        (true, AbortReason.publicKey), (true, .badInit), (false, .publicKey), (false, .cipher), (false, .badInit),
    ])
    func badMessagesAbort(ofA: Bool, _ reason: AbortReason) {
        let pair = Pair()
        pair.clientSends(1000, 0, .syn, mss)
        pair.settle()
        pair.serverSends(5000, 1001, [.syn, .ack], mss)
        pair.settle()
        pair.clientSends(1001, 5001, .ack)
        if !ofA { for bytes in pair.client.takeWire() { pair.server.feed(bytes, .inbound) } }
        let (sender, receiver) = ofA ? (pair.client, pair.server) : (pair.server, pair.client)
        let (from, to) = ofA ? (pair.a, pair.b) : (pair.b, pair.a)
        _ = receiver.takeKernel()
        for seen in sender.takeSeen() where !seen.payload.isEmpty {
            receiver.arrive(
                from, to, seen.sequence, seen.acknowledgment, seen.packet.flags, [69, 2], spoil(seen.payload, reason))
        }
        let tuple = FlowTuple(local: to, remote: from)
        #expect(receiver.actions.contains(.log(.aborted(tuple, reason))))
        #expect(receiver.actions.contains(.destroySocket(tuple)))
        #expect(receiver.takeSeen().last?.packet.flags.contains(.rst) == true)
        #expect(receiver.takeKernel().allSatisfy { !$0.packet.flags.contains(.fin) && $0.payload.isEmpty })
    }

    /// A rekeyed frame wants one back, unless the answering end has sent its FIN (RFC 8548 section 3.8).
    @Test(arguments: [false, true]) func rekeyingIsAnsweredUntilTheFIN(hasEnded: Bool) {
        let peer = HandMade(TestHost(seed: 1))
        peer.open()
        peer.host.leave(peer.there, peer.here, 5001, 1001, hasEnded ? [.ack, .fin] : .ack)
        _ = peer.host.takeWire()
        let sequence = peer.seq
        peer.send(peer.frame([1], rekey: true), at: sequence)
        let answers = peer.host.takeSeen().filter { !$0.payload.isEmpty }
        #expect(answers.map { $0.payload[0] } == (hasEnded ? [] : [1]))
        #expect(peer.host.takeKernel().flatMap(\.payload) == [1])
        #expect(peer.host.engine.connections().first?.subflows.first?.state == .encrypted)
    }

    private func spoil(_ message: [UInt8], _ reason: AbortReason) -> [UInt8] {
        switch reason {
        case .publicKey: message.dropLast(32) + [UInt8](repeating: 0, count: 32)
        case .cipher: message.prefix(9) + [2] + message.dropFirst(10)
        // The right magic number, and a length that no message has.
        default: message.prefix(4) + [0, 0, 0, 9] + message.dropFirst(8)
        }
    }
}
