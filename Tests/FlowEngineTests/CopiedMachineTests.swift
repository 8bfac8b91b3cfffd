import PacketWire
import Tables
import Tcpcrypt
import Testing

@testable import FlowEngine

/// After a snapshot was restored nothing goes on that another copy of the machine may go on with too.
@Suite struct CopiedMachineTests {
    private func disown(_ host: TestHost) {
        host.engine.disownSecrets(now: host.now, into: &host.output)
        host.drain()
    }

    private func isReset(_ seen: Seen) -> Bool { seen.packet.flags.contains(.rst) }

    @Test func encryptedConnectionsEndAtBothEnds() {
        let pair = Pair()
        pair.connect()
        _ = pair.client.takeKernel()
        disown(pair.server)
        let tuple = FlowTuple(local: pair.b, remote: pair.a)
        #expect(pair.server.actions.contains(.log(.aborted(tuple, .machineCopied))))
        #expect(pair.server.actions.contains(.destroySocket(tuple)))
        pair.settle()
        #expect(pair.client.takeKernel().contains(where: isReset))
        pair.serverSends(5001, 1001, [.ack, .psh], [], [1, 2, 3])
        #expect(pair.server.takeSeen().allSatisfy { $0.payload.isEmpty })
    }

    @Test func sessionsAreGone() {
        let pair = Pair()
        pair.connect()
        #expect(pair.server.engine.sessionCount == 1)
        disown(pair.server)
        #expect(pair.server.engine.sessionCount == 0)
        let next = Pair(port: 40_001, client: pair.client, server: pair.server)
        next.connect()
        let report = pair.server.engine.connections().flatMap(\.subflows).first { $0.remote == next.a }
        #expect(report?.origin == .fresh && report?.state == .encrypted)
    }

    /// A connection whose subflows have all ended may be joined for a while, but not with secrets that others may have.
    @Test func joinChainsAreGone() {
        let pair = Pair()
        let multipath = Multipath(pair)
        multipath.connect()
        disown(pair.server)
        let refused = pair.server.engine.counters.joinsRefused
        let other = Pair(port: 40_001, client: pair.client, server: pair.server)
        multipath.join(other)
        #expect(pair.server.engine.counters.joins == 0)
        #expect(pair.server.engine.counters.joinsRefused == refused + 1)
    }

    /// The SYN with the session's secret may leave the other copy too.
    @Test func anOpeningThatNamedASecretEnds() {
        let pair = Pair()
        pair.connect()
        let next = Pair(port: 40_001, client: pair.client, server: pair.server)
        next.clientSends(1000, 0, .syn, mss)
        disown(pair.client)
        #expect(pair.client.actions.contains(.destroySocket(FlowTuple(local: next.a, remote: next.b))))
    }

    /// Nothing secret was drawn yet.
    @Test func anOpeningThatNamedNoneGoesOn() {
        let pair = Pair()
        pair.clientSends(1000, 0, .syn, mss)
        disown(pair.client)
        pair.settle()
        pair.serverSends(5000, 1001, [.syn, .ack], mss)
        pair.settle()
        pair.clientSends(1001, 5001, .ack)
        pair.settle()
        #expect(pair.clientReport?.state == .encrypted)
    }

    @Test func keyPairsAreNotUsedAgain() {
        let host = TestHost(seed: 1)
        let first = HandMade(host, port: 7)
        first.open()
        let operations = host.engine.counters.publicKeyOperations
        disown(host)
        let second = HandMade(host, port: 8)
        second.open()
        // A pair and an agreement, where the pair would have served again.
        #expect(host.engine.counters.publicKeyOperations == operations + 2)
    }
}
