import FlowEngine
import PacketWire
import Testing

@testable import FlowEngine

/// SYNs with ENO that get lost where others do not.
@Suite struct UnansweredOffersTests {
    private let pair = Pair()
    private static let mss: [UInt8] = [2, 4, 5, 180]

    /// Opens a connection through something that drops SYNs with ENO; returns how many SYNs had the option.
    private func open(port: UInt16, service: UInt16 = 80, isAnswered: Bool = true) -> Int {
        let other = Pair(port: port, service: service, client: pair.client, server: pair.server)
        for attempt in 1..<10 {
            other.clientSends(1000, 0, .syn, Self.mss)
            pair.client.advance(milliseconds: 1_000)
            let syns = pair.client.takeSeen().filter { $0.packet.flags == .syn }
            guard syns.contains(where: { !$0.hasENO }) else { continue }
            guard isAnswered else { return attempt - 1 }
            // Twice, as kernels repeat it.
            for _ in 0..<2 {
                let answer = TestSegment(
                    source: other.b, destination: other.a, sequence: 5000, acknowledgment: 1001, flags: [.syn, .ack],
                    options: Self.mss)
                pair.client.feed(answer.bytes, .inbound)
            }
            other.clientSends(1001, 5001, .ack)
            _ = pair.client.takeWire()
            return attempt - 1
        }
        return .max
    }

    @Test func afterTwoInARowNoneIsMade() {
        #expect([40_001, 40_002, 40_003, 40_004].map { open(port: $0) } == [2, 2, 0, 0])
        let reports = pair.client.engine.connections().flatMap(\.subflows)
        #expect(reports.allSatisfy { $0.state == .plain && $0.reason == .synRetransmitted })
        pair.client.now = pair.client.now.adding(milliseconds: UnansweredOffers.lifetime)
        #expect(open(port: 40_005) == 2)
    }

    /// A host that does not answer at all says nothing about the option.
    @Test func silenceProvesNothing() {
        #expect((40_001..<40_005).map { open(port: $0, isAnswered: false) } == [2, 2, 2, 2])
    }

    @Test func anAnswerToAnOfferClearsIt() {
        #expect(open(port: 40_001) == 2)
        let other = Pair(port: 40_002, client: pair.client, server: pair.server)
        other.connect()
        #expect(other.client.engine.connections().flatMap(\.subflows).contains { $0.state == .encrypted })
        var offers = UnansweredOffers()
        let path = PathMTUs.Path(FlowTuple(local: pair.a, remote: pair.b))
        offers.note(path, pair.client.now)
        offers.clear(path)
        offers.note(path, pair.client.now)
        #expect(!offers.contains(path, pair.client.now))
    }

    /// Whoever has encrypted before is asked again: a few lost packets must not take encryption away, nor an earlier connection with the
    /// same addresses, which a host that believes only signed resets lets go after three seconds.
    @Test func knownHostsAreAskedAgain() {
        Pair(port: 40_000, client: pair.client, server: pair.server).connect()
        #expect((40_001..<40_004).map { open(port: $0) } == [4, 4, 4])
        // At another port, more often than the session is proposed there.
        #expect((40_001..<40_013).map { open(port: $0, service: 81) } == [Int](repeating: 4, count: 12))
    }

    @Test func theTableIsBounded() {
        var offers = UnansweredOffers()
        for number in 0..<UInt32(3 * UnansweredOffers.limit) {
            let remote = Endpoint(address: IPAddress(ipv4: number), port: 1)
            for _ in 0..<2 {
                offers.note(PathMTUs.Path(FlowTuple(local: pair.a, remote: remote)), Instant(nanoseconds: 0))
            }
        }
        #expect(offers.count == UnansweredOffers.limit)
    }
}
