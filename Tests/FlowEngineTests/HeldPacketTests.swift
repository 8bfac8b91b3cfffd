import PacketWire
import Tables
import Testing

@testable import FlowEngine

/// What strangers can make a host hold: they spend nothing, so it must be little.
@Suite struct StrangerTests {
    /// Two of them, with all they have.
    @Test func strangersLeaveRoomForOthers() {
        let pair = Pair()
        for port in 1...2 as ClosedRange<UInt16> {
            let attacker = HandMade(pair.server, port: port)
            attacker.openSilently()
            for index in 0..<8_192 as Range<UInt32> { attacker.send([0], at: 1003 &+ 2 &* index) }
        }
        #expect(pair.server.held == 2 * Flow.mostUnproven)
        _ = pair.server.takeWire()
        _ = pair.server.takeKernel()
        Self.expectService(pair)
    }

    /// So many that their share is full.
    @Test func aCrowdOfStrangersLeavesRoomForOthers() {
        let pair = Pair(server: TestHost(seed: 2) { $0.maximumHeldPackets = 800 })
        for port in 1...300 as ClosedRange<UInt16> {
            let attacker = HandMade(pair.server, port: port)
            attacker.openSilently()
            for index in 0..<20 as Range<UInt32> { attacker.send([0], at: 1003 &+ 2 &* index) }
            // A server that greets: its kernel's data waits for keys.
            for index in 0..<10 as Range<UInt32> {
                pair.server.leave(attacker.there, attacker.here, 5001 + 4 * index, 1001, .ack, [], [1, 2, 3, 4])
            }
        }
        #expect(pair.server.held <= 200)
        _ = pair.server.takeWire()
        _ = pair.server.takeKernel()
        Self.expectService(pair)
    }

    /// A new connection works, with a hole in its stream too.
    private static func expectService(_ pair: Pair) {
        pair.connect()
        _ = pair.server.takeKernel()
        pair.clientSends(1001, 5001, [.ack, .psh], [], [UInt8](repeating: 1, count: 4000))
        let packets = pair.client.takeWire()
        for bytes in packets.reversed() { pair.server.feed(bytes, .inbound) }
        #expect(packets.count > 2 && pair.server.takeKernel().flatMap(\.payload).count == 4000)
    }

    /// What lies further on than any message of the key exchange reaches is not held.
    @Test func nothingFarAheadIsHeldBeforeKeys() {
        let attacker = HandMade(TestHost(seed: 1))
        attacker.openSilently()
        attacker.send([0], at: 1001 + 16_385)
        #expect(attacker.host.held == 0)
        attacker.send([0], at: 1001 + 16_384)
        #expect(attacker.host.held == 1)
    }

    /// The packet that closes the hole is taken, however much is held.
    @Test func theNextPieceDisplacesTheLast() throws {
        let host = TestHost(seed: 1)
        let attacker = HandMade(host)
        attacker.openSilently()
        for index in 1...20 as ClosedRange<UInt32> { attacker.send([0], at: 1011 + 2 * index) }
        attacker.send([0x15, 0x10], at: 1001)
        #expect(host.held == Flow.mostUnproven)
        #expect(try attacker.flow().receive.contiguousW == 2)
        #expect(host.engine.host.pending.unproven.load.packets == Flow.mostUnproven)
    }

    @Test func whatIsHeldBeforeKeysGoesAfterSecondsOfSilence() {
        let attacker = HandMade(TestHost(seed: 1))
        attacker.openSilently()
        attacker.send([0], at: 1003)
        attacker.host.advance(milliseconds: 4_900)
        #expect(attacker.host.held == 1)
        attacker.host.advance(milliseconds: 200)
        #expect(attacker.host.held == 0)
    }

    /// An idle client sends its Init1 all the same, with its third ACK.
    @Test func aClientWithoutInit1IsGivenUp() {
        let attacker = HandMade(TestHost(seed: 1))
        attacker.openSilently()
        for _ in 0..<59 {
            attacker.host.advance(milliseconds: 1_000)
            attacker.host.arrive(attacker.here, attacker.there, 1001, 5001, .ack, [69, 2])
        }
        #expect(!attacker.isAborted(for: .handshakeTimeout))
        attacker.host.advance(milliseconds: 2_000)
        #expect(attacker.isAborted(for: .handshakeTimeout))
    }

    /// Nor does a join that is never proved end the connection it names.
    @Test func aJoinThatIsNeverProvedIsRefused() throws {
        let pair = Pair()
        Multipath(pair).connect()
        let other = Multipath(pair).halfOpenJoin()
        other.clientSends(2001, 6001, .ack, joinACK)
        let third = try #require(pair.client.takeSeen().last)
        // Without the frame that proves it.
        pair.server.arrive(
            other.a, other.b, third.sequence, third.acknowledgment, .ack,
            third.options.span.indices.map { third.options.span[$0] })
        pair.server.advance(milliseconds: 61_000)
        #expect(pair.server.takeKernel().isEmpty && pair.server.held == 0)
        #expect(
            pair.server.actions.contains(
                .log(
                    .joinRefused(
                        FlowTuple(local: other.b, remote: other.a), .noProof,
                        token: Multipath.token(Multipath.keyB).span.loadUInt32(at: 0)))))
        #expect(pair.server.engine.connections().flatMap(\.subflows).map(\.state) == [.encrypted])
        pair.server.advance(milliseconds: 61_000)
        #expect(pair.server.engine.flows.count == 1)
    }

    /// The proof of a join finds room among forged repetitions of its third ACK.
    @Test func forgedAcknowledgementsDoNotKeepAJoinOut() throws {
        let pair = Pair()
        Multipath(pair).connect()
        let other = Multipath(pair).halfOpenJoin()
        for _ in 0..<100 { pair.server.arrive(other.a, other.b, 2001, 6001, .ack, [69, 2]) }
        for index in 0..<100 as Range<UInt32> {
            pair.server.arrive(other.a, other.b, 2101 + 2 * index, 6001, .ack, [69, 2], [0])
        }
        other.clientSends(2001, 6001, .ack, joinACK)
        other.settle()
        #expect(pair.server.engine.counters.joins == 1)
        #expect(pair.server.takeKernel().contains { $0.options.contains(TCPOptionKind.mptcp) && $0.payload.isEmpty })
    }

    @Test func aPeerWithKeysMayBeSilent() {
        let pair = Pair()
        pair.connect()
        for host in [pair.client, pair.server] { host.advance(milliseconds: 3_600_000) }
        #expect(pair.clientReport?.state == .encrypted && pair.serverReport?.state == .encrypted)
    }

    /// Every packet that was counted is counted off again.
    @Test func budgetsAreReturned() {
        let pair = Pair()
        pair.connect()
        pair.clientSends(1001, 5001, [.ack, .psh], [], [UInt8](repeating: 1, count: 4000))
        for bytes in pair.client.takeWire().reversed() { pair.server.feed(bytes, .inbound) }
        let attacker = HandMade(pair.server)
        attacker.openSilently()
        attacker.send([0], at: 1003)
        pair.server.leave(attacker.there, attacker.here, 5001, 1001, .ack, [], [1, 2, 3, 4])
        let pending = { pair.server.engine.host.pending }
        #expect(pending().unproven.load.packets == 1 && pending().outbound.load.packets == 1)
        pair.server.advance(milliseconds: 61_000)
        #expect(
            pending().unproven.load.packets == 0 && pending().outbound.load.packets == 0
                && pending().proven.load.packets == 0)
    }
}

/// The kernel's queue is not a place to wait in for a peer that has gone.
@Suite struct SilenceTests {
    private func frameInPieces() -> (attacker: HandMade, pieces: [(sequence: UInt32, bytes: [UInt8])]) {
        let attacker = HandMade(TestHost(seed: 1))
        attacker.open()
        let start = attacker.seq
        let bytes = attacker.frame((0..<3000).map { UInt8(truncatingIfNeeded: $0) })
        let pieces = stride(from: 0, to: bytes.count, by: 500).map {
            (sequence: start &+ UInt32($0), bytes: Array(bytes[$0..<min($0 + 500, bytes.count)]))
        }
        return (attacker, pieces)
    }

    /// What was acknowledged will not come again: its bytes stay, and are delivered in packets of our own.
    @Test func acknowledgedPiecesOutliveTheirVerdicts() {
        let (attacker, pieces) = frameInPieces()
        for piece in pieces.prefix(3) + pieces.suffix(2) { attacker.send(piece.bytes, at: piece.sequence) }
        attacker.host.advance(milliseconds: 1_000)
        #expect(attacker.host.takeSeen().last?.acknowledgment == pieces[3].sequence)
        attacker.host.advance(milliseconds: 180_000)
        #expect(attacker.host.held == 0 && attacker.host.engine.host.pending.proven.load.packets == 0)
        for piece in pieces.dropFirst(3) { attacker.send(piece.bytes, at: piece.sequence) }
        let expected = (0..<3000).map { UInt8(truncatingIfNeeded: $0) }
        #expect(attacker.host.takeKernel().flatMap(\.payload) == expected)
        #expect(attacker.host.held == 0 && attacker.host.engine.host.pending.proven.load.packets == 0)
    }

    @Test func piecesBehindAHoleAreForgotten() {
        let (attacker, pieces) = frameInPieces()
        for piece in pieces.dropFirst() { attacker.send(piece.bytes, at: piece.sequence) }
        attacker.host.advance(milliseconds: 181_000)
        #expect(attacker.host.held == 0 && attacker.host.engine.host.pending.proven.load.packets == 0)
        for piece in pieces { attacker.send(piece.bytes, at: piece.sequence) }
        #expect(attacker.host.takeKernel().flatMap(\.payload).count == 3000)
    }
}

/// What one more packet costs does not depend on what is held.
@Suite struct HeldPacketCostTests {
    private static let pieces = 6_000

    /// Pieces of one byte behind a hole, in order, from the middle, and again.
    @Test func aHeldPacketIsCheapHoweverManyAreHeld() throws {
        let attacker = HandMade(TestHost(seed: 1))
        attacker.open()
        let flow = try attacker.flow()
        let first = attacker.seq &+ 100
        var cost: [Int] = []
        let measure = { (sequences: [UInt32]) in
            let before = flow.receive.held.visits
            for sequence in sequences { attacker.send([0], at: sequence) }
            cost.append((flow.receive.held.visits - before) / sequences.count)
            _ = attacker.host.takeWire()
        }
        let half = UInt32(Self.pieces / 2)
        measure((0..<half).map { first &+ $0 })
        measure((0..<500).map { first &+ half &+ 2 &* $0 })
        measure((0..<500).reversed().map { first &+ half &+ 2 &* $0 &+ 1 })
        measure((0..<half).map { first &+ $0 })
        #expect(cost.allSatisfy { $0 <= 4 }, "\(cost) packets looked at for each that arrived")
        #expect(attacker.host.held == Self.pieces / 2 + 1000)
    }

    /// Small frames behind a hole that closes.
    @Test func closingAHoleCostsEveryFrameOnce() throws {
        let attacker = HandMade(TestHost(seed: 1))
        attacker.open()
        let first = attacker.seq
        let missing = attacker.frame([1])
        for _ in 0..<2_000 {
            let sequence = attacker.seq
            attacker.send(attacker.frame([1]), at: sequence)
        }
        _ = attacker.host.takeWire()
        let flow = try attacker.flow()
        let before = flow.receive.held.visits
        attacker.send(missing, at: first)
        #expect(attacker.host.takeKernel().flatMap(\.payload).count == 2001)
        #expect(flow.receive.held.visits - before < 3 * 2001)
    }

    /// One flow does not take what all flows share.
    @Test func aFlowLeavesAsMuchAsItTakes() {
        let host = TestHost(seed: 1) { $0.maximumHeldPackets = 800 }
        let attackers = (1...3 as ClosedRange<UInt16>).map { HandMade(host, port: $0) }
        for attacker in attackers {
            attacker.open()
            for index in 0..<1000 as Range<UInt32> { attacker.send([0], at: attacker.seq &+ 100 &+ index) }
        }
        #expect(host.held == 300 + 150 + 75)
    }

    /// Pieces of a frame are acknowledged soon, since the sender may wait for that; after a forgery they are not, since what is held
    /// may be forged as well and what was acknowledged cannot be exchanged.
    @Test(arguments: [(false, 200 as Int64, true), (true, 200, false), (true, 1_300, true)])
    func piecesAreAcknowledgedLateAfterAForgery(_ isForged: Bool, _ milliseconds: Int64, _ isAcknowledged: Bool) {
        let pair = Pair()
        pair.connect()
        guard let last = pair.wire.last(where: { $0.packet.source == pair.a }) else { return }
        let next = last.sequence &+ UInt32(last.payload.count)
        if isForged {
            let forged = [0, 0, 17] + [UInt8](repeating: 9, count: 17)
            pair.server.arrive(pair.a, pair.b, next, last.acknowledgment, .ack, [], forged)
            #expect(pair.server.engine.counters.authFailures == 1)
        }
        pair.clientSends(1001, 5001, [.ack, .psh], [], [UInt8](repeating: 1, count: 4000))
        guard let first = pair.client.takeWire().first else { return }
        _ = pair.server.takeWire()
        pair.server.feed(first, .inbound)
        pair.server.advance(milliseconds: milliseconds)
        let acknowledged = pair.server.takeWire().compactMap { Seen($0) }.contains { $0.acknowledgment != next }
        #expect(acknowledged == isAcknowledged)
    }
}
