import PacketWire
import Testing

@testable import FlowEngine

/// A kernel short of memory drops what it was given, and its peer's repetition brings the beginning of another frame along.
@Suite struct RedeliveryTests {
    /// Found by `Scenarios/receiver-pressure`: the repetition was taken for one of what was held, and the stream stood still for a minute.
    @Test(arguments: [100, 200]) func whatTheKernelDroppedComesAgainWithThePieceOfANewFrame(piece: Int) throws {
        let attacker = HandMade(TestHost(seed: 1))
        attacker.open()
        let start = attacker.seq
        let first = attacker.frame([UInt8](repeating: 1, count: 1000))
        let second = attacker.frame([UInt8](repeating: 2, count: 1000))
        attacker.send(Array(first[..<600]), at: start)
        attacker.send(Array(first[600...] + second[..<100]), at: start + 600)
        #expect(attacker.host.takeKernel().flatMap(\.payload).count == 596)
        // Half of it found room.
        attacker.host.leave(attacker.there, attacker.here, 5001, 1001 + 296, .ack)
        attacker.host.advance(milliseconds: 200)
        attacker.send(Array(first[300...] + second[..<piece]), at: start + 300)
        let again = try #require(attacker.host.takeKernel().first)
        #expect(again.sequence == 1001 + 296)
        #expect(again.payload.count == 704)
        attacker.host.leave(attacker.there, attacker.here, 5001, 2001, .ack)
        attacker.send(Array(second[piece...]), at: start + UInt32(first.count + piece))
        #expect(attacker.host.takeKernel().flatMap(\.payload).filter { $0 == 2 }.count == 1000)
    }

    /// The end of one frame came with a piece of the next one, was acknowledged with it, and then dropped by the kernel: nobody but the engine
    /// will repeat it, and it has to go on acknowledging pieces.
    @Test func whatWasPromisedBeforeTheKernelDroppedItComesAgain() throws {
        let attacker = HandMade(TestHost(seed: 1))
        attacker.open()
        let start = attacker.seq
        let first = attacker.frame([UInt8](repeating: 1, count: 1000))
        let second = attacker.frame([UInt8](repeating: 2, count: 5000))
        attacker.send(Array(first[..<600]), at: start)
        attacker.send(Array(first[600...] + second[..<200]), at: start + 600)
        attacker.host.leave(attacker.there, attacker.here, 5001, 1001 + 596, .ack)
        attacker.host.advance(milliseconds: 1000)
        #expect(attacker.host.takeSeen().last?.acknowledgment == start + 1220)
        _ = attacker.host.takeKernel()
        // The sender had not heard of it and repeats the end, for which the kernel has no room.
        attacker.send(Array(first[600...]), at: start + 600)
        #expect(attacker.host.takeKernel().flatMap(\.payload).count == 404)
        attacker.send(Array(second[200..<700]), at: start + 1220)
        attacker.host.advance(milliseconds: 1000)
        #expect(attacker.host.takeSeen().last?.acknowledgment == start + 1720)
        attacker.send(Array(second[700...]), at: start + 1720)
        _ = attacker.host.takeKernel()
        attacker.host.advance(milliseconds: 1000)
        let again = attacker.host.takeKernel()
        #expect(again.first?.sequence == 1597)
        #expect(again.flatMap(\.payload).count >= 404 + 200)
    }

    /// A packet that is held for the first time is delivered once.
    @Test func theEndOfAFrameIsDeliveredOnce() {
        let attacker = HandMade(TestHost(seed: 1))
        attacker.open()
        let start = attacker.seq
        let first = attacker.frame([UInt8](repeating: 1, count: 1000))
        let second = attacker.frame([UInt8](repeating: 2, count: 1000))
        attacker.send(Array(first[..<600]), at: start)
        attacker.send(Array(first[600...] + second[..<100]), at: start + 600)
        attacker.send(Array(second[100...]), at: start + UInt32(first.count + 100))
        #expect(attacker.host.takeKernel().flatMap(\.payload).count == 2000)
    }
}
