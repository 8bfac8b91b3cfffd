import PacketWire
import Testing

@testable import FlowEngine

/// What arrives twice is answered at once, and by name, so that the sender learns that it repeated too much (RFC 2883).
@Suite struct DuplicateTests {
    /// A connection over which the client has sent three segments of 1000 bytes; their packets are not delivered yet.
    private static func threePackets() -> (pair: Pair, packets: [[UInt8]]) {
        let pair = Pair()
        pair.connect()
        _ = pair.server.takeKernel()
        for index in 0..<3 as Range<UInt32> {
            pair.clientSends(
                1001 + 1000 * index, 5001, [.ack, .psh], [], [UInt8](repeating: UInt8(index), count: 1000))
        }
        return (pair, pair.client.takeWire())
    }

    private static func blocks(_ seen: Seen) -> [[UInt32]] {
        seen.options.sackBlocks.map { [$0.start.rawValue, $0.end.rawValue] }
    }

    private static func range(_ bytes: [UInt8]) -> [UInt32] {
        Seen(bytes).map { [$0.sequence, $0.sequence &+ UInt32($0.payload.count)] } ?? []
    }

    @Test func whatTheKernelAcknowledgedIsNamed() throws {
        let (pair, packets) = Self.threePackets()
        for bytes in packets { pair.server.feed(bytes, .inbound) }
        pair.serverSends(5001, 4001, .ack)
        let acknowledgment = try #require(pair.server.takeSeen().last?.acknowledgment)
        _ = pair.server.takeKernel()
        for bytes in packets {
            pair.server.feed(bytes, .inbound)
            let answers = pair.server.takeWire()
            #expect(answers.count == 1)
            let answer = try #require(answers.first.flatMap { Seen($0) })
            #expect(answer.acknowledgment == acknowledgment && answer.payload.isEmpty)
            #expect(Self.blocks(answer) == [Self.range(bytes)])
            pair.client.feed(answers[0], .inbound)
        }
        // No question: the kernel would answer it as well, but not three times in half a second.
        #expect(
            pair.server.takeKernel().map { [$0.sequence, UInt32($0.payload.count)] } == [
                [4001, 0], [4001, 0], [4001, 0],
            ])
        let told = pair.client.takeKernel().suffix(3)
        #expect(told.map { Self.blocks($0) } == [[[1001, 2001]], [[2001, 3001]], [[3001, 4001]]])
    }

    /// A window of the sender's that is nearly empty has no patience: what repeats it is answered every time.
    @Test func theSameAgainAndAgain() {
        let (pair, packets) = Self.threePackets()
        for bytes in packets { pair.server.feed(bytes, .inbound) }
        pair.serverSends(5001, 4001, .ack)
        _ = pair.server.takeWire()
        for _ in 0..<5 { pair.server.feed(packets[0], .inbound) }
        #expect(pair.server.takeSeen().map { Self.blocks($0) } == Array(repeating: [Self.range(packets[0])], count: 5))
    }

    /// What the kernel has not acknowledged yet, it names itself.
    @Test func whatTheKernelHasNotAcknowledgedItSeesAgain() {
        let (pair, packets) = Self.threePackets()
        pair.server.feed(packets[0], .inbound)
        _ = pair.server.takeKernel()
        pair.server.feed(packets[0], .inbound)
        #expect(pair.server.takeKernel().map { [$0.sequence, UInt32($0.payload.count)] } == [[1001, 1000]])
        #expect(pair.server.takeWire().isEmpty)
        var option: [UInt8] = [TCPOptionKind.sack, 10]
        for edge: UInt32 in [1001, 2001] { option += edge.bigEndianBytes }
        pair.serverSends(5001, 2001, .ack, option)
        #expect(pair.server.takeSeen().map { Self.blocks($0) } == [[Self.range(packets[0])]])
    }

    /// Held behind a hole: first what came twice, then the stretch that it belongs to.
    @Test func whatIsHeldIsNamedBeforeItsBlock() throws {
        let (pair, packets) = Self.threePackets()
        pair.server.feed(packets[1], .inbound)
        pair.server.feed(packets[2], .inbound)
        let held = [Self.range(packets[1])[0], Self.range(packets[2])[1]]
        #expect(pair.server.takeSeen().map { Self.blocks($0) } == [[Self.range(packets[1])], [held]])
        for _ in 0..<2 {
            pair.server.feed(packets[2], .inbound)
            let answers = pair.server.takeWire()
            let answer = try #require(answers.first.flatMap { Seen($0) })
            #expect(answers.count == 1 && Self.blocks(answer) == [Self.range(packets[2]), held])
            pair.client.feed(answers[0], .inbound)
        }
        let told = try #require(pair.client.takeKernel().last)
        #expect(Self.blocks(told) == [[3001, 4001], [2001, 4001]])
    }

    /// A piece of a frame that comes again as it was is the sender's own, and acknowledged: nothing else would move a sender
    /// whose window is smaller than the frame.
    @Test func aRepeatedPieceIsAcknowledged() throws {
        let attacker = HandMade(TestHost(seed: 1))
        attacker.open()
        let start = attacker.seq
        let bytes = attacker.frame([UInt8](repeating: 3, count: 3000))
        attacker.send(Array(bytes[0..<1000]), at: start)
        attacker.send(Array(bytes[0..<1000]), at: start)
        let answer = try #require(attacker.host.takeSeen().last)
        #expect(answer.acknowledgment == start + 1000 && Self.blocks(answer) == [[start, start + 1000]])
    }

    /// A kernel that repeats after a timeout sets PSH on everything: after pieces that came twice, others of that sender's do not wait for
    /// their repetition (a path MTU black hole: four more segments per timeout, no end to be seen).
    @Test(arguments: [true, false]) func aSmallWindowIsRemembered(isKnown: Bool) throws {
        let attacker = HandMade(TestHost(seed: 1))
        attacker.open()
        let first = attacker.seq
        let bytes = attacker.frame([UInt8](repeating: 3, count: 3000))
        for _ in 0..<(isKnown ? 2 : 1) { attacker.send(Array(bytes[0..<1000]), at: first, [.ack, .psh]) }
        attacker.send(Array(bytes[1000...]), at: first + 1000)
        attacker.host.leave(attacker.there, attacker.here, 5001, 4001, .ack)
        let second = attacker.seq
        attacker.send(Array(attacker.frame([UInt8](repeating: 4, count: 3000))[0..<1000]), at: second, [.ack, .psh])
        _ = attacker.host.takeSeen()
        attacker.host.advance(milliseconds: 20)
        let early = attacker.host.takeSeen().last?.acknowledgment
        #expect(early == (isKnown ? second + 1000 : nil))
        attacker.host.advance(milliseconds: 1000)
        let late = attacker.host.takeSeen().last?.acknowledgment
        #expect(late == second + 1000)
    }

    /// Repeated with other boundaries: the part that was here.
    @Test func theOverlapIsNamed() throws {
        let attacker = HandMade(TestHost(seed: 1))
        attacker.open()
        let start = attacker.seq
        let bytes = attacker.frame([UInt8](repeating: 3, count: 3000))
        attacker.send(Array(bytes[1000..<2000]), at: start + 1000)
        _ = attacker.host.takeSeen()
        attacker.send(Array(bytes[1500..<2500]), at: start + 1500)
        let answer = try #require(attacker.host.takeSeen().last)
        #expect(Self.blocks(answer) == [[start + 1500, start + 2000], [start + 1000, start + 2500]])
    }

    /// The FIN behind a hole counts like a byte: else the sender's last segment would seem to be missing.
    @Test func theFINBelongsToTheBlock() throws {
        let attacker = HandMade(TestHost(seed: 1))
        attacker.open()
        _ = attacker.frame([1, 2, 3])
        let start = attacker.seq
        let last = attacker.frame([4, 5, 6], fin: true)
        let end = start + UInt32(last.count) + 1
        for _ in 0..<2 {
            attacker.host.arrive(attacker.here, attacker.there, start, 5001, [.ack, .fin], [69, 2], last)
        }
        let answers = attacker.host.takeSeen().map { Self.blocks($0) }
        #expect(answers == [[[start, end]], [[start, end], [start, end]]])
    }

    /// A piece that fills one hole of a frame with two completes nothing, but the sender is told at once.
    @Test func aPieceThatFillsAHoleIsTold() throws {
        let attacker = HandMade(TestHost(seed: 1))
        attacker.open()
        let start = attacker.seq
        let bytes = attacker.frame([UInt8](repeating: 3, count: 3980))
        for index in [1, 3] {
            attacker.send(Array(bytes[index * 1000..<(index + 1) * 1000]), at: start + UInt32(index * 1000))
        }
        _ = attacker.host.takeSeen()
        attacker.send(Array(bytes[0..<1000]), at: start)
        let answers = attacker.host.takeSeen()
        #expect(answers.map(\.acknowledgment) == [start])
        #expect(answers.map { Self.blocks($0) } == [[[start + 1000, start + 2000], [start + 3000, start + 4000]]])
    }
}
