import FlowEngine
import PacketWire
import Testing

/// An end of file that the peer did not sign is never one; it ends the connection only where nothing authentic
/// follows for long (RFC 8548 section 3.7).
@Suite struct UnsignedFINTests {
    enum Step: Sendable {
        /// So many FINs without FINp.
        case forge(Int)
        case pass(milliseconds: Int64)
        /// The peer's kernel sends a byte.
        case data
        /// What the victim sends is lost from here on.
        case deafen
    }

    struct Row: Sendable, CustomTestStringConvertible {
        let testDescription: String
        let steps: [Step]
        let isAborted: Bool
    }

    static let rows = [
        Row(testDescription: "one", isAborted: false, [.forge(1)]),
        Row(testDescription: "a burst", isAborted: false, [.forge(100)]),
        Row(testDescription: "a burst nobody answers", isAborted: false, [.deafen, .forge(100)]),
        Row(
            testDescription: "repeated, unanswered", isAborted: true,
            [.deafen, .forge(1), .pass(milliseconds: 5000), .forge(1), .pass(milliseconds: 5000), .forge(1)]),
        Row(
            testDescription: "repeated too little", isAborted: false,
            [.deafen, .forge(1), .pass(milliseconds: 60_000), .forge(1)]),
        Row(
            testDescription: "repeated too briefly", isAborted: false,
            [.deafen, .forge(2), .pass(milliseconds: 2900), .forge(2)]),
        Row(
            testDescription: "repeated, while the peer proves that it lives", isAborted: false,
            [.forge(2), .pass(milliseconds: 2000), .forge(2), .pass(milliseconds: 2000), .forge(2)]),
        Row(
            testDescription: "repeated, with data in between", isAborted: false,
            [.deafen, .forge(2), .pass(milliseconds: 2900), .data, .pass(milliseconds: 2000), .forge(2)]),
        Row(
            testDescription: "repeated after data", isAborted: true,
            [.deafen, .forge(2), .data, .forge(2), .pass(milliseconds: 3000), .forge(1)]),
    ]

    @Test(arguments: rows) func table(_ row: Row) {
        let pair = Pair()
        pair.connect()
        var victim = Victim(pair)
        for step in row.steps { victim.take(step) }
        #expect(victim.isAborted == row.isAborted)
        #expect(!victim.sawEnd)
        if !row.isAborted {
            victim.take(.data)
            #expect(victim.received == victim.sent)
            pair.clientSends(1001 + UInt32(victim.sent), 5001, [.ack, .fin])
            victim.deliver()
            #expect(victim.sawEnd)
        }
    }
}

extension UnsignedFINTests.Row {
    init(testDescription: String, isAborted: Bool, _ steps: [UnsignedFINTests.Step]) {
        self.init(testDescription: testDescription, steps: steps, isAborted: isAborted)
    }
}

/// The server of a pair, whose client may no longer hear it.
private struct Victim {
    let pair: Pair
    var sent = 0
    var received = 0
    var sawEnd = false
    private var isDeaf = false
    /// Behind what the client sent on the wire, and what it acknowledges there.
    private var wireEnd: UInt32 = 0
    private var acknowledged: UInt32 = 0

    init(_ pair: Pair) {
        self.pair = pair
        _ = pair.server.takeKernel()
        if let last = pair.wire.last(where: { $0.packet.source == pair.a }) { note(last) }
    }

    var isAborted: Bool {
        pair.server.actions.contains { action in
            if case .log(.aborted(_, .unsignedFIN)) = action { true } else { false }
        }
    }

    mutating func take(_ step: UnsignedFINTests.Step) {
        switch step {
        case .deafen: isDeaf = true
        case .forge(let count): for _ in 0..<count { forge() }
        case .pass(let milliseconds):
            pair.server.advance(milliseconds: milliseconds)
            pair.client.advance(milliseconds: milliseconds)
        case .data:
            pair.clientSends(1001 + UInt32(sent), 5001, [.ack, .psh], [], [7])
            sent += 1
        }
        deliver()
    }

    private func forge() {
        let forged = TestSegment(
            source: pair.a, destination: pair.b, sequence: wireEnd, acknowledgment: acknowledged, flags: [.fin, .ack])
        pair.server.feed(forged.bytes, .inbound)
    }

    private mutating func note(_ seen: Seen) {
        wireEnd = seen.sequence &+ UInt32(seen.payload.count)
        acknowledged = seen.acknowledgment
    }

    /// Moves what is under way until nothing is.
    mutating func deliver() {
        repeat {
            for bytes in pair.client.takeWire() {
                if let seen = Seen(bytes) { note(seen) }
                pair.server.feed(bytes, .inbound)
            }
            let answers = pair.server.takeWire()
            if !isDeaf { for bytes in answers { pair.client.feed(bytes, .inbound) } }
        } while !pair.client.toWire.isEmpty
        for seen in pair.server.takeKernel() {
            received += seen.payload.count
            if seen.packet.flags.contains(.fin) { sawEnd = true }
        }
    }
}
