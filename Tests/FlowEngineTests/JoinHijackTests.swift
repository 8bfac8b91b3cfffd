import FlowEngine
import OpenSSLProvider
import PacketWire
import Tcpcrypt
import Testing

/// Ways by which a stranger who knows the keys, or stands on a path, might get a join past the engine.
@Suite struct JoinHijackTests {
    /// The server has an MPTCP connection without encryption as well; returns its key.
    private func connectStranger(to pair: Pair) -> [UInt8] {
        let key: [UInt8] = [4, 4, 4, 4, 4, 4, 4, 4]
        pair.server.arrive(stranger, pair.b, 777, 0, .syn, mss + [30, 4, 1, 1])
        pair.server.leave(pair.b, stranger, 9000, 778, [.syn, .ack], mss + [30, 12, 1, 1] + key)
        pair.server.arrive(stranger, pair.b, 778, 9001, .ack, [30, 20, 1, 1] + Multipath.keyA + key)
        return key
    }

    /// A plain SYN makes the tuple "plain"; the same ISN with MP_JOIN then skips every check.
    @Test func aRememberedPlainSYNDoesNotCoverAJoin() {
        let pair = Pair()
        Multipath(pair).connect()
        pair.server.arrive(stranger, pair.b, 777, 0, .syn, mss)
        pair.server.arrive(stranger, pair.b, 778, 0, [.rst])
        _ = pair.server.takeKernel()
        pair.server.arrive(stranger, pair.b, 777, 0, .syn, mss + joinSYN(Multipath.token(Multipath.keyB)))
        #expect(!pair.server.takeKernel().contains(where: isJoin))
    }

    /// The engine judges the first MP_JOIN option, Linux obeys the last one (net/mptcp/options.c).
    @Test func twoJoinOptionsAreNotAJoin() {
        let pair = Pair()
        Multipath(pair).connect()
        let key = connectStranger(to: pair)
        _ = pair.server.takeKernel()
        let other = Endpoint(address: stranger.address, port: 10)
        pair.server.arrive(
            other, pair.b, 1, 0, .syn,
            [2, 4, 5, 180] + joinSYN(Multipath.token(key)) + joinSYN(Multipath.token(Multipath.keyB)))
        #expect(!pair.server.takeKernel().contains(where: isJoin))
    }

    /// The first SYN of a tuple is judged, and dropped by the kernel; the second, with the same ISN, is a join.
    @Test func aRepeatedSYNMayNotTurnIntoAJoin() {
        for first in [[69, 3, 0x23] as [UInt8], [30, 4, 1, 1]] {
            let pair = Pair()
            Multipath(pair).connect()
            pair.server.arrive(stranger, pair.b, 777, 0, .syn, [2, 4, 5, 180] + md5 + first)
            _ = pair.server.takeKernel()
            pair.server.arrive(stranger, pair.b, 777, 0, .syn, mss + joinSYN(Multipath.token(Multipath.keyB)))
            #expect(!pair.server.takeKernel().contains(where: isJoin))
        }
    }

    /// A reset the kernel ignores (wrong ACK) makes the engine forget a join it has not seen proved.
    @Test func aForgedResetDoesNotLetAnAcceptedJoinGoPlain() {
        let pair = Pair()
        let multipath = Multipath(pair)
        multipath.connect()
        let other = Multipath(pair).halfOpenJoin()
        pair.server.arrive(other.a, other.b, 2001, 1, [.rst, .ack])
        pair.server.advance(milliseconds: 6000)
        _ = pair.server.takeKernel()
        pair.server.arrive(other.a, other.b, 2001, 6001, .ack, joinACK)
        #expect(!pair.server.takeKernel().contains(where: isJoin))
    }

    /// An answered join that something else than its third ACK made be refused is still half-open in the kernel. A packet that belongs to
    /// nothing must not make it ordinary TCP.
    @Test func aRefusedJoinDoesNotGoPlain() {
        let pair = Pair()
        Multipath(pair).connect()
        let other = Multipath(pair).halfOpenJoin()
        pair.server.arrive(other.a, other.b, 2001, 6001, .ack, joinACK)
        #expect(pair.server.engine.counters.joinsRefused == 1)
        _ = pair.server.takeKernel()
        pair.server.actions = []
        pair.server.arrive(other.a, other.b, 2500, 6001, [.rst, .ack])
        pair.server.arrive(other.a, other.b, 2500, 6001, .ack)
        #expect(pair.server.takeKernel().isEmpty)
        // The next that the kernel says ends it.
        other.serverSends(6000, 2001, [.syn, .ack], Multipath.joinSYNACKOptions)
        #expect(pair.server.actions.contains(.destroySocket(FlowTuple(local: other.b, remote: other.a))))
        #expect(!pair.server.actions.contains { if case .accept(_, .plain) = $0 { true } else { false } })
    }

    /// To the kernel that has it half-open, a SYN with the same sequence number is a repetition; the engine must not take it for the join of a
    /// plain connection.
    @Test func aRefusedJoinIsNotRepeatedAsThatOfAPlainConnection() {
        let pair = Pair()
        Multipath(pair).connect()
        let key = connectStranger(to: pair)
        let other = Multipath(pair).halfOpenJoin()
        pair.server.arrive(other.a, other.b, 2001, 6001, .ack, joinACK)
        #expect(pair.server.engine.counters.joinsRefused == 1)
        _ = pair.server.takeKernel()
        pair.server.arrive(other.a, other.b, 2000, 0, .syn, mss + joinSYN(Multipath.token(key)))
        #expect(pair.server.takeKernel().isEmpty)
        // A later one is another matter.
        pair.server.arrive(other.a, other.b, 3000, 0, .syn, mss + joinSYN(Multipath.token(key)))
        #expect(pair.server.takeKernel().count == 1)
    }

    /// Nor does a SYN of any kind with another number lead its third ACK to the kernel.
    @Test func aRefusedJoinIsNotEstablishedBehindAnotherSYN() {
        let pair = Pair()
        Multipath(pair).connect()
        let other = Multipath(pair).halfOpenJoin()
        pair.server.arrive(other.a, other.b, 2001, 6001, .ack, joinACK)
        pair.server.arrive(other.a, other.b, 3000, 0, .syn, mss)
        _ = pair.server.takeKernel()
        pair.server.arrive(other.a, other.b, 2001, 6001, .ack, joinACK, [1, 2, 3])
        #expect(pair.server.takeKernel().isEmpty)
    }

    /// The other way round: the kernel has the join of a plain connection half-open, and would take the next SYN for its repetition.
    @Test func aPlainJoinIsNotRepeatedAsThatOfAnEncryptedConnection() {
        let pair = Pair()
        Multipath(pair).connect()
        let key = connectStranger(to: pair)
        let other = Pair(port: 40_001, client: pair.client, server: pair.server)
        pair.server.arrive(other.a, other.b, 2000, 0, .syn, mss + joinSYN(Multipath.token(key)))
        _ = pair.server.takeKernel()
        other.clientSends(2000, 0, .syn, Multipath.synOptions(joinSYN(Multipath.token(Multipath.keyB))))
        other.settle()
        #expect(pair.server.takeKernel().isEmpty)
        // Its own repetition goes on.
        pair.server.arrive(other.a, other.b, 2000, 0, .syn, mss + joinSYN(Multipath.token(key)))
        #expect(pair.server.takeKernel().count == 1)
    }

    /// The same at the joining end: then a SYN-ACK without ENO completes the join in clear.
    @Test func aForgedResetDoesNotLetAnOpenedJoinGoPlain() {
        let pair = Pair()
        Multipath(pair).connect()
        let other = Pair(port: 40_001, client: pair.client, server: pair.server)
        other.clientSends(2000, 0, .syn, Multipath.synOptions(joinSYN(Multipath.token(Multipath.keyB))))
        _ = pair.client.takeWire()
        _ = pair.client.takeKernel()
        pair.client.arrive(other.b, other.a, 3, 3, [.rst, .ack])
        pair.client.advance(milliseconds: 6000)
        _ = pair.client.takeKernel()
        pair.client.arrive(other.b, other.a, 6000, 2001, [.syn, .ack], mss + joinSYNACK)
        #expect(!pair.client.takeKernel().contains { isJoin($0) && !$0.packet.flags.contains(.rst) })
    }

    /// Linux takes a reset with the sequence number 1 for a segment without MPTCP, and its whole connection falls back to TCP.
    @Test func noResetOfAJoinMakesTheConnectionFallBack() {
        for isSYNACK in [false, true] {
            let pair = Pair()
            Multipath(pair).connect()
            let other = Pair(port: 40_001, client: pair.client, server: pair.server)
            other.clientSends(2000, 0, .syn, Multipath.synOptions(joinSYN(Multipath.token(Multipath.keyB))))
            _ = (pair.client.takeWire(), pair.client.takeKernel())
            pair.client.arrive(
                other.b, other.a, isSYNACK ? 1 : 0, 2001, isSYNACK ? [.syn, .ack] : [.rst, .ack],
                isSYNACK ? mss + joinSYNACK : [])
            pair.client.arrive(other.b, other.a, 1, 2001, [.rst, .ack])
            let seen = pair.client.takeKernel()
            #expect(!seen.isEmpty && seen.allSatisfy { $0.packet.flags == [.rst, .ack] && $0.sequence == 0 })
        }
    }

    /// A SYN-ACK of a join whose SYN an earlier daemon sent.
    @Test func aJoinFromBeforeARestartIsNotCompletedInClear() {
        let client = TestHost(seed: 1)
        let here = Endpoint(address: IPAddress(ipv4: 0x0a00_0001), port: 40_001)
        client.arrive(stranger, here, 6000, 2001, [.syn, .ack], mss + joinSYNACK)
        #expect(client.takeKernel().isEmpty)
    }

    /// A SYN against the SYN of a join ("simultaneous open") makes the join plain.
    @Test func simultaneousOpenDoesNotMakeAJoinPlain() {
        let pair = Pair()
        Multipath(pair).connect()
        let other = Pair(port: 40_001, client: pair.client, server: pair.server)
        let syn = Multipath.synOptions(joinSYN(Multipath.token(Multipath.keyB)))
        other.clientSends(2000, 0, .syn, syn)
        _ = pair.client.takeWire()
        pair.client.arrive(other.b, other.a, 1, 0, .syn, [2, 4, 5, 180] + md5)
        _ = pair.client.takeKernel()
        other.clientSends(2000, 0, .syn, syn)
        #expect(!pair.client.takeSeen().contains { isJoin($0) && !$0.hasENO })
        pair.client.arrive(other.b, other.a, 6000, 2001, [.syn, .ack], mss + joinSYNACK)
        #expect(!pair.client.takeKernel().contains { isJoin($0) && !$0.packet.flags.contains(.rst) })
    }

    /// A join SYN without room for ENO.
    @Test func aJoinWithoutRoomForProofStaysHome() {
        let pair = Pair()
        Multipath(pair).connect()
        let other = Pair(port: 40_001, client: pair.client, server: pair.server)
        let long: [UInt8] = [253, 14] + [UInt8](repeating: 0, count: 12)
        other.clientSends(
            2000, 0, .syn, [2, 4, 5, 180, 4, 2, 3, 3, 7] + joinSYN(Multipath.token(Multipath.keyB)) + long)
        #expect(!pair.client.takeSeen().contains(where: isJoin))
    }

    /// Another server that claims the same key (it went over the wire in clear) takes the token away.
    @Test func aStolenKeyDoesNotMakeJoinsPlain() {
        let pair = Pair()
        Multipath(pair).connect()
        let own = Endpoint(address: pair.a.address, port: 41_000)
        pair.client.leave(own, stranger, 100, 0, .syn, mss + [30, 4, 1, 1])
        pair.client.arrive(stranger, own, 200, 101, [.syn, .ack], mss + [30, 12, 1, 1] + Multipath.keyB)
        pair.client.leave(own, stranger, 101, 201, .ack, [30, 20, 1, 1] + [3, 3, 3, 3, 3, 3, 3, 3] + Multipath.keyB)
        _ = pair.client.takeWire()
        let other = Pair(port: 40_001, client: pair.client, server: pair.server)
        other.clientSends(2000, 0, .syn, Multipath.synOptions(joinSYN(Multipath.token(Multipath.keyB))))
        #expect(!pair.client.takeSeen().contains { isJoin($0) && !$0.hasENO })
    }

    /// The same where the thief speaks tcpcrypt, and could prove the join itself: it goes to neither.
    @Test func aStolenKeyDoesNotHijackJoins() {
        let pair = Pair()
        Multipath(pair).connect()
        let thief = Pair(port: 41_000, client: pair.client, server: TestHost(seed: 66))
        Multipath(thief).connect()
        let other = Pair(port: 40_001, client: pair.client, server: thief.server)
        other.clientSends(2000, 0, .syn, Multipath.synOptions(joinSYN(Multipath.token(Multipath.keyB))))
        #expect(!pair.client.takeSeen().contains(where: isJoin))
        #expect(pair.client.engine.counters.joinsRefused == 1)
    }

    /// A peer that names a stranger's token as ours does not take that connection's joins.
    @Test func whatAPeerSaysOurKeyIsCountsForNothing() {
        let pair = Pair()
        Multipath(pair).connect()
        let own = Endpoint(address: pair.b.address, port: 80)
        pair.server.leave(own, stranger, 100, 0, .syn, mss + [30, 4, 1, 1])
        pair.server.arrive(stranger, own, 200, 101, [.syn, .ack], mss + [30, 12, 1, 1] + [7, 7, 7, 7, 7, 7, 7, 7])
        pair.server.arrive(stranger, own, 201, 101, .ack, [30, 20, 1, 1] + [7, 7, 7, 7, 7, 7, 7, 7] + Multipath.keyB)
        _ = pair.server.takeWire()
        _ = pair.server.takeKernel()
        let other = Pair(port: 40_001, client: pair.client, server: pair.server)
        Multipath(pair).join(other)
        #expect(pair.server.engine.counters.joins == 1)
    }

    /// A DATA_FIN on a bare acknowledgement is an end of file nobody signed.
    @Test func aForgedDataFINDoesNotReachTheKernel() {
        let pair = Pair()
        Multipath(pair).connect()
        guard let last = pair.wire.last(where: { $0.packet.source == pair.a }) else { return }
        _ = pair.server.takeKernel()
        // DSS with DATA_FIN, 8-byte DSN and map: length 1, subflow sequence 0.
        let dataFIN: [UInt8] = [30, 18, 0x20, 0x1c, 0, 0, 0, 0, 0, 0, 0, 7, 0, 0, 0, 0, 0, 1]
        pair.server.arrive(
            pair.a, pair.b, last.sequence &+ UInt32(last.payload.count), last.acknowledgment, .ack, dataFIN)
        let seen = pair.server.takeKernel().contains { seen in
            seen.options.ranges(of: 30).contains { seen.options.span[$0.lowerBound + 3] & 0x10 != 0 }
        }
        withKnownIssue("RFC 8548 alone authenticates no MPTCP options (ProtectedSignalling does)") { #expect(!seen) }
    }
}
