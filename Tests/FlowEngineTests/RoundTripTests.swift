import PacketWire
import Tables
import Testing

@testable import FlowEngine

/// How long the path seems, which decides how long frames are.
@Suite struct RoundTripTests {
    /// A connection whose handshake took 20 ms.
    private func slowlyOpened() -> Pair {
        let pair = Pair()
        pair.clientSends(1000, 0, .syn, [2, 4, 5, 180, 4, 2])
        pair.settle()
        pair.serverSends(5000, 1001, [.syn, .ack], [2, 4, 5, 180, 4, 2])
        pair.client.advance(milliseconds: 20)
        pair.settle()
        pair.clientSends(1001, 5001, .ack)
        pair.settle()
        return pair
    }

    private func isLong(_ pair: Pair) throws -> Bool {
        try #require(pair.client.engine.flows.values.first).wantsShortFrames(pair.client.now)
    }

    /// A host that was busy when the connection began does not make it a long path for good.
    @Test func aQuickAnswerCorrectsTheHandshake() throws {
        let pair = slowlyOpened()
        #expect(try isLong(pair))
        pair.clientSends(1001, 5001, [.ack, .psh], [], [1, 2, 3])
        pair.settle()
        pair.client.advance(milliseconds: 1)
        pair.serverSends(5001, 1004, .ack)
        pair.settle()
        #expect(try !isLong(pair))
    }

    @Test func aSlowAnswerDoesNot() throws {
        let pair = slowlyOpened()
        pair.clientSends(1001, 5001, [.ack, .psh], [], [1, 2, 3])
        pair.settle()
        pair.client.advance(milliseconds: 20)
        pair.serverSends(5001, 1004, .ack)
        pair.settle()
        #expect(try isLong(pair))
    }

    /// Which of the two is acknowledged is not known.
    @Test func whatWasRepeatedIsNotMeasured() throws {
        let pair = slowlyOpened()
        pair.clientSends(1001, 5001, [.ack, .psh], [], [1, 2, 3])
        pair.client.advance(milliseconds: 19)
        pair.clientSends(1001, 5001, [.ack, .psh], [], [1, 2, 3])
        pair.settle()
        pair.client.advance(milliseconds: 1)
        pair.serverSends(5001, 1004, .ack)
        pair.settle()
        pair.client.advance(milliseconds: 20_000)
        #expect(try isLong(pair))
    }
}
