import PacketWire
import Testing

@testable import FlowEngine

/// Plain TCP ignores what lies behind a FIN. Anybody can forge it, so it ends nothing either where the stream is encrypted.
@Suite struct BehindTheEndTests {
    static let forgeries: [[UInt8]] = [
        [0, 0, 17] + [UInt8](repeating: 0, count: 17),
        // Part of a frame, a length no frame has, and more than one.
        [0, 0, 17, 0], [0, 0, 1, 0, 0], [UInt8](repeating: 0, count: 200), [0],
    ]

    @Test(arguments: forgeries) func forgedBytesBehindTheFINDoNotAbort(_ forged: [UInt8]) {
        let pair = Pair()
        pair.connect()
        pair.clientSends(1001, 5001, [.ack, .fin], [], [9])
        pair.settle()
        _ = pair.server.takeKernel()
        guard let last = pair.wire.last(where: { $0.packet.flags.contains(.fin) }) else { return }
        let next = last.sequence &+ UInt32(last.payload.count) &+ 1
        for _ in 0..<20 {
            pair.server.arrive(pair.a, pair.b, next, last.acknowledgment, .ack, [], forged)
            pair.server.advance(milliseconds: 1_000)
        }
        #expect(pair.server.held == 0)
        expectGoesOn(pair, received: 1)
    }

    /// They came before the end did, or with it.
    @Test(arguments: forgeries) func forgedBytesBeforeTheFINComesDoNotStopIt(_ forged: [UInt8]) {
        for joined in [false, true] {
            let pair = Pair()
            pair.connect()
            _ = pair.server.takeKernel()
            pair.clientSends(1001, 5001, .ack, [], [9])
            let first = pair.client.takeWire()
            pair.clientSends(1002, 5001, [.ack, .fin], [], [8])
            let last = pair.client.takeWire()
            guard let seen = last.last.flatMap({ Seen($0) }) else { continue }
            let end = seen.sequence &+ UInt32(seen.payload.count)
            pair.server.arrive(
                pair.a, pair.b, joined ? seen.sequence : end, seen.acknowledgment, .ack, [],
                (joined ? seen.payload : []) + forged)
            for bytes in last + first + last { pair.server.feed(bytes, .inbound) }
            #expect(pair.server.held == 0)
            expectGoesOn(pair, received: 2)
        }
    }

    /// A peer that does authenticate more is broken.
    @Test func anAuthenticFrameBehindTheEndAborts() {
        let attacker = HandMade(TestHost(seed: 1))
        attacker.open()
        let sequence = attacker.seq
        attacker.send(attacker.frame([1], fin: true), at: sequence)
        #expect(!attacker.isAborted(for: .dataAfterFIN))
        attacker.reopen()
        let next = attacker.seq
        attacker.send(attacker.frame([2]), at: next)
        #expect(attacker.isAborted(for: .dataAfterFIN))
    }

    private func expectGoesOn(_ pair: Pair, received count: UInt32) {
        let kernel = pair.server.takeKernel()
        var byPlace: [UInt32: UInt8] = [:]
        for seen in kernel {
            for (index, byte) in seen.payload.enumerated() { byPlace[seen.sequence &+ UInt32(index)] = byte }
        }
        if count > 1 { #expect(byPlace == [1001: 9, 1002: 8]) }
        #expect(count == 1 || kernel.contains { $0.packet.flags.contains(.fin) })
        _ = pair.server.takeWire()
        pair.serverSends(5001, 1001 + count + 1, [.ack, .psh], [], [7, 7])
        pair.settle()
        #expect(pair.client.takeKernel().flatMap(\.payload) == [7, 7])
        #expect(pair.serverReport?.state == .encrypted)
    }
}
