import PacketWire
import Tables
import Testing

@testable import FlowEngine

/// Somebody on the path clears the FIN flag of every packet: the end of file that the peer signed comes all the same (RFC 8548 section 3.7).
@Suite struct MissingFINTests {
    /// Moves what is under way until nothing is, without FINs.
    private func settle(_ pair: Pair) {
        while !pair.client.toWire.isEmpty || !pair.server.toWire.isEmpty {
            for (from, to) in [(pair.client, pair.server), (pair.server, pair.client)] {
                for seen in from.takeSeen() {
                    let stripped = TestSegment(
                        source: seen.packet.source, destination: seen.packet.destination, sequence: seen.sequence,
                        acknowledgment: seen.acknowledgment, flags: seen.packet.flags.subtracting(.fin),
                        payload: seen.payload)
                    to.feed(stripped.bytes, .inbound)
                }
            }
        }
    }

    private func fins(_ seen: [Seen]) -> [UInt32] {
        seen.filter { $0.packet.flags.contains(.fin) }.map { $0.sequence &+ UInt32($0.payload.count) }
    }

    private func closing(_ data: [UInt8]) -> Pair {
        let pair = Pair()
        pair.connect()
        _ = pair.server.takeKernel()
        pair.clientSends(1001, 5001, [.ack, .fin], [], data)
        settle(pair)
        return pair
    }

    @Test(arguments: [[], [9]] as [[UInt8]]) func theSignedEndIsToldWithoutAFIN(_ data: [UInt8]) {
        let pair = closing(data)
        let end = 1001 + UInt32(data.count)
        let arrived = pair.server.takeKernel()
        #expect(arrived.flatMap(\.payload) == data && fins(arrived) == [end])
        pair.serverSends(5001, end + 1, .ack)
        settle(pair)
        #expect(pair.client.takeKernel().last?.acknowledgment == end)

        // What is acknowledged then is the FIN which the client's kernel has sent.
        pair.server.advance(milliseconds: Flow.missingFIN)
        settle(pair)
        #expect(fins(pair.server.takeKernel()).isEmpty)
        #expect(pair.client.takeKernel().last?.acknowledgment == end + 1)
        // And the other direction goes on, to its own end.
        pair.serverSends(5001, end + 1, [.ack, .psh], [], [7])
        pair.serverSends(5002, end + 1, [.ack, .fin])
        settle(pair)
        let late = pair.client.takeKernel()
        #expect(late.flatMap(\.payload) == [7] && fins(late) == [5002])
        pair.clientSends(end + 1, 5003, .ack)
        pair.client.advance(milliseconds: Flow.missingFIN)
        settle(pair)
        #expect(pair.server.takeKernel().last?.acknowledgment == 5003)
        let finished = pair.server.engine.flows.values.map { $0.isFinished }
        #expect(finished == [true])
    }

    /// The kernel did not take it: it comes again with the peer's repetition.
    @Test(arguments: [[], [9]] as [[UInt8]]) func whatTheKernelDidNotTakeComesAgain(_ data: [UInt8]) {
        let pair = closing(data)
        pair.server.advance(milliseconds: Flow.missingFIN)
        _ = pair.server.takeKernel()
        pair.clientSends(1001, 5001, [.ack, .fin], [], data)
        settle(pair)
        #expect(fins(pair.server.takeKernel()) == [1001 + UInt32(data.count)])
    }

    /// A FIN that comes later than its frame is no second end.
    @Test func aLateFINIsTheSame() {
        let pair = closing([9])
        pair.server.advance(milliseconds: Flow.missingFIN)
        pair.serverSends(5001, 1003, .ack)
        _ = pair.server.takeKernel()
        let last = pair.wire.last { $0.packet.source == pair.a }
        let w = 21 + (last.map { $0.sequence &+ UInt32($0.payload.count) } ?? 0)
        pair.server.arrive(pair.a, pair.b, w, 5001, [.ack, .fin])
        #expect(fins(pair.server.takeKernel()).isEmpty)
        #expect(pair.serverReport?.state == .encrypted)
    }
}
