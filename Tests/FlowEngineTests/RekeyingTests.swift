import FlowEngine
import PacketWire
import Tcpcrypt
import Testing

/// New generations of keys (RFC 8548 section 3.8), and probes whether the peer lives (section 3.9).
@Suite struct RekeyingTests {
    private func pair(_ configure: @escaping (inout EngineConfiguration) -> Void = { _ in }) -> Pair {
        let pair = Pair(client: TestHost(seed: 1, configure), server: TestHost(seed: 2, configure))
        pair.connect()
        take(pair)
        return pair
    }

    private func take(_ pair: Pair) {
        _ = pair.client.takeKernel()
        _ = pair.server.takeKernel()
        pair.wire = []
    }

    private func generations(_ pair: Pair) -> [Int?] {
        [pair.clientReport, pair.serverReport].flatMap { [$0?.localGeneration, $0?.remoteGeneration] }
    }

    private func isRekeying(_ seen: Seen) -> Bool { seen.payload.first == 1 }

    @Test func byVolume() {
        let pair = pair { $0.mostBytesUnderKey = 1000 }
        for round in 0..<10 as Range<UInt32> {
            let data = [UInt8](repeating: UInt8(round), count: 500)
            pair.clientSends(1001 + 500 * round, 5001, [.ack, .psh], [], data)
            pair.settle()
            #expect(pair.server.takeKernel().flatMap(\.payload) == data)
            pair.serverSends(5001, 1501 + 500 * round, .ack)
            pair.settle()
        }
        // Frames of 520 bytes: every third begins a generation.
        #expect(generations(pair) == [4, 4, 4, 4])
        #expect(pair.client.engine.counters.rekeys == 4 && pair.server.engine.counters.rekeys == 4)
    }

    /// A peer that does not answer at once is not pressed.
    @Test func oneAtATime() {
        let pair = pair { $0.mostBytesUnderKey = 1000 }
        for round in 0..<10 as Range<UInt32> {
            pair.clientSends(1001 + 500 * round, 5001, [.ack, .psh], [], [UInt8](repeating: 1, count: 500))
        }
        #expect(pair.client.takeSeen().filter(isRekeying).count == 1)
    }

    /// Whoever has signed its end does not answer.
    @Test func behindTheEndOfThePeer() {
        let pair = pair { $0.mostBytesUnderKey = 1000 }
        pair.serverSends(5001, 1001, [.ack, .fin])
        pair.settle()
        for round in 0..<10 as Range<UInt32> {
            pair.clientSends(1001 + 500 * round, 5002, [.ack, .psh], [], [UInt8](repeating: 1, count: 500))
            pair.settle()
            pair.serverSends(5002, 1501 + 500 * round, .ack)
            pair.settle()
        }
        #expect(pair.clientReport?.localGeneration == 4 && pair.serverReport?.remoteGeneration == 4)
    }

    @Test func byAgeWhereKeysWereUsed() {
        let pair = pair { $0.oldestKeyMilliseconds = 10_000 }
        let pass = { (milliseconds: Int64) in
            pair.client.advance(milliseconds: milliseconds)
            pair.server.advance(milliseconds: milliseconds)
            pair.settle()
        }
        pass(30_000)
        #expect(generations(pair) == [0, 0, 0, 0])
        pair.clientSends(1001, 5001, [.ack, .psh], [], [1])
        pair.settle()
        pair.serverSends(5001, 1002, .ack)
        pair.settle()
        take(pair)
        pass(9_000)
        #expect(generations(pair) == [0, 0, 0, 0])
        // Both ends begin at once, and neither answers.
        pass(2_000)
        #expect(generations(pair) == [1, 1, 1, 1])
        #expect(pair.wire.filter(isRekeying).count == 2)
        for _ in 0..<10 { pass(10_000) }
        #expect(generations(pair) == [1, 1, 1, 1])
        #expect(pair.client.takeKernel().allSatisfy { $0.payload.isEmpty })
    }

    @Test func onRequest() {
        let pair = pair()
        var place = ReportPlace()
        #expect(pair.client.engine.rekey(now: pair.client.now, from: &place) == 1)
        #expect(place.isEnd)
        pair.client.advance(milliseconds: 0)
        pair.settle()
        #expect(generations(pair) == [1, 1, 1, 1])
        pair.serverSends(5001, 1001, [.ack, .psh], [], [7, 8])
        pair.settle()
        #expect(pair.client.takeKernel().flatMap(\.payload) == [7, 8])
    }

    /// A lost segment comes again under the key it was made with (RFC 8548 section 3.8).
    @Test func repetitionsKeepTheirKeys() throws {
        let pair = pair()
        pair.clientSends(1001, 5001, [.ack, .psh], [], [1, 2, 3])
        let lost = try #require(pair.client.takeSeen().last?.payload)
        var place = ReportPlace()
        _ = pair.client.engine.rekey(now: pair.client.now, from: &place)
        pair.client.advance(milliseconds: 0)
        pair.settle()
        pair.clientSends(1001, 5001, [.ack, .psh], [], [1, 2, 3])
        #expect(pair.client.toWire.compactMap { Seen($0) }.last?.payload == lost)
        pair.settle()
        #expect(pair.server.takeKernel().flatMap(\.payload) == [1, 2, 3])
        #expect(generations(pair) == [1, 1, 1, 1])
    }

    // MARK: Life

    /// The kernel's question travels as a frame; what anybody can answer does not reach the kernel, what the peer signs does.
    @Test func aKeepAliveIsVerified() throws {
        let pair = pair()
        pair.clientSends(1000, 5001, .ack)
        let probe = try #require(pair.client.takeSeen().last)
        #expect(isRekeying(probe) && probe.payload.count == 20)
        let forged = TestSegment(
            source: pair.b, destination: pair.a, sequence: probe.acknowledgment, acknowledgment: probe.sequence,
            flags: .ack)
        pair.client.feed(forged.bytes, .inbound)
        #expect(pair.client.takeKernel().isEmpty)
        pair.server.feed(probe.raw, .inbound)
        pair.settle()
        #expect(pair.client.takeKernel().contains { $0.acknowledgment == 1001 && $0.payload.isEmpty })
        #expect(generations(pair) == [1, 1, 1, 1])
        // Nor would the kernel ask again.
        pair.client.feed(forged.bytes, .inbound)
        #expect(pair.client.takeKernel().isEmpty)
        pair.clientSends(1001, 5001, [.ack, .psh], [], [1])
        pair.settle()
        pair.serverSends(5001, 1002, .ack)
        pair.settle()
        #expect(pair.client.takeKernel().last?.acknowledgment == 1002)
    }

    /// A question that nobody answered is asked again with the same frame.
    @Test func anUnansweredKeepAliveIsRepeated() throws {
        let pair = pair()
        pair.clientSends(1000, 5001, .ack)
        let probe = try #require(pair.client.takeSeen().last)
        pair.clientSends(1000, 5001, .ack)
        #expect(pair.client.takeSeen().last?.payload == probe.payload)
        #expect(pair.clientReport?.localGeneration == 1)
    }

    /// Once the peer has signed its end it need not answer: the kernel's own question has to do.
    @Test func aKeepAliveBehindTheEndOfThePeerIsPlain() throws {
        let pair = pair()
        pair.serverSends(5001, 1001, [.ack, .fin])
        pair.settle()
        pair.clientSends(1001, 5002, .ack)
        pair.settle()
        pair.clientSends(1000, 5002, .ack)
        let probe = try #require(pair.client.takeSeen().last)
        #expect(probe.payload.isEmpty)
    }
}
