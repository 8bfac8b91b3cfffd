import OpenSSLProvider
import PacketWire
import Tables
import Tcpcrypt
import Testing

@testable import FlowEngine

/// What a peer with keys can make the engine keep or send on its own account.
@Suite struct EngineOwnedTests {
    /// They never move K, so nothing of the map would ever be forgotten.
    @Test func emptyFramesDoNotPileUp() throws {
        let attacker = HandMade(TestHost(seed: 1))
        attacker.open()
        let opened = attacker.host.engine.counters.framesOpened
        for _ in 0..<20 {
            let sequence = attacker.seq
            attacker.send((0..<1_000).flatMap { _ in attacker.frame() }, at: sequence)
        }
        #expect(attacker.host.engine.counters.framesOpened == opened + 20_000)
        #expect(try attacker.flow().receive.map.count < 4)
        _ = attacker.host.takeWire()
        let sequence = attacker.seq
        attacker.send(attacker.frame([1, 2, 3]), at: sequence)
        #expect(attacker.host.takeKernel().flatMap(\.payload) == [1, 2, 3])
        attacker.host.leave(attacker.there, attacker.here, 5001, 1004, .ack)
        #expect(attacker.host.takeSeen().last?.acknowledgment == attacker.seq)
    }

    /// A frame without data gives the kernel nothing to acknowledge: the engine does, when data has had time to take it along.
    @Test func anEmptyFrameIsAcknowledgedInTime() throws {
        let attacker = HandMade(TestHost(seed: 1))
        attacker.open()
        var sequence = attacker.seq
        attacker.send(attacker.frame(), at: sequence)
        #expect(attacker.host.takeWire().isEmpty)
        attacker.host.advance(milliseconds: 1)
        #expect(attacker.host.takeWire().isEmpty)
        attacker.host.advance(milliseconds: 1)
        #expect(attacker.host.takeSeen().map(\.acknowledgment) == [attacker.seq])

        sequence = attacker.seq
        attacker.send(attacker.frame(), at: sequence)
        attacker.host.leave(attacker.there, attacker.here, 5001, 1001, .ack, [], [1, 2, 3])
        #expect(attacker.host.takeSeen().map(\.acknowledgment) == [attacker.seq])
        attacker.host.advance(milliseconds: 100)
        #expect(attacker.host.takeWire().isEmpty)
    }

    /// Each frame with rekey = 1 makes two keys, a frame and a packet.
    @Test func rekeyingWithoutAcknowledgementEndsTheConnection() throws {
        let attacker = HandMade(TestHost(seed: 1))
        attacker.open()
        let sequence = attacker.seq
        attacker.send((0..<1_000).flatMap { _ in attacker.frame(rekey: true) }, at: sequence)
        #expect(attacker.isAborted(for: .rekeying))
        #expect(attacker.host.takeWire().count <= Flow.mostOwned + 1)
        #expect(try attacker.flow().send.retainedBytes < 30 * Flow.mostOwned)
    }

    @Test func rekeyingWithAcknowledgementsGoesOn() throws {
        let attacker = HandMade(TestHost(seed: 1))
        attacker.open()
        var acknowledged = UInt32(5001)
        for _ in 0..<100 {
            let sequence = attacker.seq
            attacker.host.arrive(
                attacker.here, attacker.there, sequence, acknowledged, .ack, [], attacker.frame(rekey: true))
            let answers = attacker.host.takeSeen().filter { !$0.payload.isEmpty }
            let last = try #require(answers.last)
            acknowledged = last.sequence &+ UInt32(last.payload.count)
        }
        #expect(try attacker.flow().sealer?.generation == 100)
        #expect(try attacker.flow().phase == .encrypted)
    }

    /// An answer that was given up because nobody acknowledged it is sent again to a peer that is back.
    @Test func aRekeyAnswerReachesAPeerThatWasAway() throws {
        let attacker = HandMade(TestHost(seed: 1))
        attacker.open()
        let end = try attacker.flow().send.nextW
        let sequence = attacker.seq
        attacker.host.arrive(
            attacker.here, attacker.there, sequence, 5001 &+ UInt32(end), .ack, [], attacker.frame(rekey: true))
        let answer = try #require(attacker.host.takeSeen().last { !$0.payload.isEmpty })
        for _ in 0..<20 { attacker.host.advance(milliseconds: 31_000) }
        #expect(attacker.host.takeSeen().allSatisfy { $0.payload == answer.payload })
        attacker.host.advance(milliseconds: 600_000)
        #expect(attacker.host.takeWire().isEmpty)
        attacker.host.arrive(attacker.here, attacker.there, attacker.seq, 5001 &+ UInt32(end), .ack)
        attacker.host.advance(milliseconds: 1_000)
        #expect(attacker.host.takeSeen().last?.payload == answer.payload)
    }

    /// At MSS 1 each byte of ciphertext would be a packet.
    @Test func aTinyMSSIsNotObeyed() {
        let host = TestHost(seed: 1)
        let attacker = HandMade(host)
        attacker.open([2, 4, 0, 1, 4, 2])
        _ = host.takeWire()
        host.leave(attacker.there, attacker.here, 5001, 1001, [.ack, .psh], [], [UInt8](repeating: 1, count: 6400))
        let seen = host.takeSeen()
        #expect(seen.count > 1 && seen.count <= 6420 / Flow.leastMSS + 1)
    }

    /// The local kernel is told so too, or it would send frames of a few bytes.
    @Test func theKernelIsToldAnMSSThatIsWorthAFrame() throws {
        for (claimed, told) in [(UInt16(1), 106), (100, 106), (200, 180), (1460, 1440)] {
            let host = TestHost(seed: 1)
            let attacker = HandMade(host)
            let option: [UInt8] = [2, 4, UInt8(claimed >> 8), UInt8(claimed & 0xff)]
            host.arrive(attacker.here, attacker.there, 1000, 0, .syn, option + [69, 3, 0x23])
            let seen = try #require(host.takeKernel().last)
            #expect(seen.options.maximumSegmentSize.map(Int.init) == told)
        }
    }
}

@Suite struct ResetTimeTests {
    /// A straggler does not bring a flow back to life.
    @Test func aResetFlowIsForgottenWhateverArrives() {
        let pair = Pair()
        pair.connect()
        pair.clientSends(1001, 5001, [.rst, .ack])
        pair.settle()
        guard let last = pair.wire.last(where: { $0.packet.source == pair.a }) else { return }
        pair.server.arrive(pair.a, pair.b, last.sequence, last.acknowledgment, .ack)
        pair.server.advance(milliseconds: 6_000)
        #expect(pair.server.engine.flows.isEmpty)
    }

    /// A socket that is gone answers at the number the peer acknowledges, and the peer obeys at no other, although an Init2 of
    /// the engine's own was sent behind it and lost.
    @Test func aResetThatAnswersIsWhereThePeerIs() {
        let attacker = HandMade(TestHost(seed: 1))
        attacker.open()
        attacker.host.leave(attacker.there, attacker.here, 5001, 1001, [.rst, .ack])
        #expect((attacker.host.takeSeen().last?.sequence ?? 0) > 5001)
        attacker.host.arrive(attacker.here, attacker.there, attacker.seq, 5001, .ack)
        attacker.host.leave(attacker.there, attacker.here, 5001, 0, .rst)
        #expect(attacker.host.takeSeen().last?.sequence == 5001)
    }
}
