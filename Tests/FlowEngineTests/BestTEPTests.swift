import PacketWire
import Tcpcrypt
import Testing

@testable import FlowEngine

/// Sessions keep the TEP of the connection that made them, and a SYN that names one offers no other: what a worse one came from
/// must not decide about later connections.
@Suite struct BestTEPTests {
    let client = SignallingTests.host(1)
    let server = SignallingTests.host(2)

    private func connect(_ port: UInt16, strips: Bool = false, isSilent: Bool = false) -> Pair {
        let pair = Pair(port: port, client: client, server: server)
        pair.clientSends(1000, 0, .syn, [2, 4, 5, 180, 4, 2])
        if strips {
            for seen in client.takeSeen() {
                server.arrive(pair.a, pair.b, seen.sequence, 0, .syn, [2, 4, 5, 180, 4, 2, 69, 3, 0x23])
            }
        }
        pair.settle()
        pair.serverSends(5000, 1001, [.syn, .ack], [2, 4, 5, 180, 4, 2])
        pair.settle()
        pair.clientSends(1001, 5001, .ack)
        pair.settle()
        guard !isSilent else { return pair }
        exchange(pair)
        return pair
    }

    /// A byte each way: a frame authenticates at both ends.
    private func exchange(_ pair: Pair) {
        pair.clientSends(1001, 5001, [.ack, .psh], [], [1])
        pair.settle()
        pair.serverSends(5001, 1002, [.ack, .psh], [], [2])
        pair.settle()
    }

    /// Somebody takes the best out of an offer: that connection fails, and the next has the best again.
    @Test(arguments: [true, false]) func anAlteredOfferLeavesNothingBehind(isSilent: Bool) {
        _ = connect(40_000, strips: true, isSilent: isSilent)
        #expect(connect(40_001).clientReport?.tep == .curve25519MPTCP)
    }

    @Test(arguments: [true, false]) func theBestIsResumed(isSilent: Bool) {
        _ = connect(40_000, isSilent: isSilent)
        #expect(connect(40_001).clientReport?.origin == .resumed)
    }

    /// A peer that allows no better one resumes what is confirmed.
    @Test func whatBothAllowIsResumed() {
        let other = SignallingTests.host(3, [.curve25519])
        for (port, origin) in [(UInt16(40_000), Origin.fresh), (40_001, .resumed)] {
            let pair = Pair(port: port, client: client, server: other)
            pair.connect()
            exchange(pair)
            #expect(pair.clientReport?.origin == origin && pair.clientReport?.tep == .curve25519)
        }
    }

    /// One that has learnt a better one since, and forgotten its sessions, gets that by the second connection.
    @Test func aPeerThatImprovesIsNotHeldBack() {
        let old = SignallingTests.host(3, [.curve25519])
        for port: UInt16 in [40_000, 40_001] {
            let pair = Pair(port: port, client: client, server: old)
            pair.connect()
            exchange(pair)
        }
        _ = connect(40_002)
        #expect(connect(40_003).clientReport?.tep == .curve25519MPTCP)
    }
}
