import FlowEngine
import PacketWire
import Testing

/// The URG flag of a packet counts for nothing: what is urgent is signed (RFC 8548 section 3.7, RFC 8547 section 5).
@Suite struct UrgentDataTests {
    private func connected() -> Pair {
        let pair = Pair()
        pair.connect()
        _ = pair.server.takeKernel()
        return pair
    }

    /// Passes on what the client sends, with other flags.
    private func pass(_ pair: Pair, _ change: (inout TestSegment) -> Void) {
        for seen in pair.client.takeSeen() {
            var segment = TestSegment(
                source: pair.a, destination: pair.b, sequence: seen.sequence, acknowledgment: seen.acknowledgment,
                flags: seen.packet.flags, payload: seen.payload)
            change(&segment)
            pair.server.feed(segment.bytes, .inbound)
        }
    }

    private func sendUrgent(_ pair: Pair, _ sequence: UInt32, _ data: [UInt8], pointer: UInt16) {
        let segment = TestSegment(
            source: pair.a, destination: pair.b, sequence: sequence, acknowledgment: 5001, flags: [.ack, .psh, .urg],
            payload: data, urgentPointer: pointer)
        pair.client.feed(segment.bytes, .outbound)
    }

    @Test func aForgedUrgentFlagIsCleared() {
        let pair = connected()
        pair.clientSends(1001, 5001, [.ack, .psh], [], [1, 2, 3])
        pass(pair) {
            $0.flags.insert(.urg)
            $0.urgentPointer = 2
        }
        let seen = pair.server.takeKernel()
        #expect(seen.flatMap(\.payload) == [1, 2, 3])
        #expect(seen.allSatisfy { !$0.packet.flags.contains(.urg) })
    }

    /// Taken out on the way, or pointing elsewhere, it is what the sender said.
    @Test(arguments: [nil, 1, 60_000] as [UInt16?]) func whatIsUrgentIsSigned(_ forged: UInt16?) {
        let pair = connected()
        pair.clientSends(1001, 5001, [.ack, .psh], [], [1, 2, 3])
        pair.settle()
        _ = pair.server.takeKernel()
        sendUrgent(pair, 1004, [4, 5, 6, 7], pointer: 3)
        pass(pair) {
            $0.flags.remove(.urg)
            guard let forged else { return }
            $0.flags.insert(.urg)
            $0.urgentPointer = forged
        }
        let seen = pair.server.takeKernel()
        #expect(seen.flatMap(\.payload) == [4, 5, 6, 7])
        #expect(seen.map { $0.packet.flags.contains(.urg) } == [true])
        #expect(seen.map { Int($0.packet.urgentPointer) } == [3])
    }

    /// An urgent byte that the kernel announces before it sends it.
    @Test func thePointerMayLeadBeyondTheFrame() {
        let pair = connected()
        sendUrgent(pair, 1001, [1, 2], pointer: 5)
        pair.settle()
        sendUrgent(pair, 1003, [3, 4, 5], pointer: 3)
        pair.settle()
        let seen = pair.server.takeKernel().filter { !$0.payload.isEmpty }
        #expect(seen.map { Int($0.sequence) + Int($0.packet.urgentPointer) } == [1006, 1006])
        #expect(seen.allSatisfy { $0.packet.flags.contains(.urg) })
    }
}
