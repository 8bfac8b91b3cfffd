import PacketWire
import Tables
import Testing

@testable import FlowEngine

/// A reset that is not at exactly the right place is answered by a question (RFC 5961 section 3.2).
@Suite struct DoubtfulResetTests {
    private static func doubting() -> Pair {
        let pair = Pair()
        pair.connect()
        // Keys, and nothing under way.
        pair.clientSends(1001, 5001, [.ack, .psh], [], [1])
        pair.settle()
        pair.serverSends(5001, 1002, .ack)
        pair.settle()
        _ = pair.server.takeKernel()
        let flow = pair.server.engine.flows[FlowTuple(local: pair.b, remote: pair.a)]
        let expected = flow?.inOrigin.sequence(at: flow?.currentAckW ?? 0) ?? SequenceNumber(0)
        let reset = TestSegment(
            source: pair.a, destination: pair.b, sequence: (expected + 500).rawValue, acknowledgment: 0, flags: .rst)
        pair.server.feed(reset.bytes, .inbound)
        return pair
    }

    /// The question, or what would answer it, may get lost: a daemon that stops sends nothing twice.
    @Test func theQuestionIsRepeated() {
        let pair = Self.doubting()
        #expect(pair.server.takeKernel().isEmpty)
        #expect(pair.server.takeWire().count == 1)
        for _ in 0..<5 {
            pair.server.advance(milliseconds: 900)
            #expect(pair.server.takeWire().isEmpty)
            pair.server.advance(milliseconds: 100)
            #expect(pair.server.takeSeen().map(\.packet.flags) == [.ack])
        }
        pair.server.advance(milliseconds: 20_000)
        #expect(pair.server.takeWire().isEmpty)
    }

    @Test func aPeerThatLivesIsNotAskedAgain() {
        let pair = Self.doubting()
        _ = pair.server.takeWire()
        pair.server.advance(milliseconds: 10)
        pair.client.advance(milliseconds: 10)
        pair.clientSends(1002, 5001, [.ack, .psh], [], [2])
        pair.settle()
        _ = pair.server.takeWire()
        pair.server.advance(milliseconds: 5000)
        #expect(pair.server.takeWire().isEmpty)
    }

    /// An MPTCP connection of which every subflow is reset waits for others: its end has to be told as one, also where the daemon that
    /// stopped has to say it twice, or leaves that to its kernel.
    @Test(arguments: [false, true]) func theEndOfAnMPTCPConnectionIsNotLost(isDaemonGone: Bool) throws {
        let pair = Pair()
        Multipath(pair).connect()
        let capable = [30, 22, 1, 1] + Multipath.thirdACK.dropFirst(4) + [0, 1]
        pair.clientSends(1001, 5001, [.ack, .psh], Multipath.timestamps + capable, [1])
        pair.settle()
        pair.serverSends(5001, 1002, .ack, Multipath.timestamps + Multipath.dss)
        pair.settle()
        _ = pair.server.takeKernel()
        // Lost; what follows is not where it should be.
        pair.clientSends(1002, 5001, [.ack, .psh], Multipath.timestamps + Multipath.dss, [2])
        _ = pair.client.takeWire()
        pair.client.engine.shutDown(now: pair.client.now, into: &pair.client.output)
        pair.client.drain()
        for reset in pair.client.takeWire() { pair.server.feed(reset, .inbound) }
        #expect(pair.server.takeKernel().isEmpty)
        let questions = pair.server.takeWire()
        let question = try #require(questions.compactMap { Seen($0) }.last)
        if isDaemonGone {
            let reset = TestSegment(
                source: pair.a, destination: pair.b, sequence: question.acknowledgment, flags: .rst)
            pair.server.feed(reset.bytes, .inbound)
        } else {
            for question in questions { pair.client.feed(question, .inbound) }
            for reset in pair.client.takeWire() { pair.server.feed(reset, .inbound) }
        }
        let told = try #require(pair.server.takeKernel().last)
        #expect(told.packet.flags.contains(.rst))
        let key = Multipath.keyB.reduce(0) { $0 << 8 | UInt64($1) }
        let option = told.options.mptcpOption(isSYN: false)
        #expect(option == .fastClose(receiverKey: key))
    }
}
