import FlowEngine
import PacketWire
import Tcpcrypt
import Testing

/// A secret is spent by the first frame that authenticates under it, not by a SYN that anybody can send again.
@Suite struct ResumptionProofTests {
    /// Two hosts that share a session, and the SYN with which the client opens its next connection.
    private func resuming() throws -> (pair: Pair, syn: [UInt8]) {
        let first = Pair()
        first.connect()
        let pair = Pair(port: 40_001, client: first.client, server: first.server)
        pair.clientSends(1000, 0, .syn, mss)
        let syn = try #require(pair.client.toWire.last)
        return (pair, syn)
    }

    /// The same SYN from somebody else.
    private func copy(_ syn: [UInt8], from source: Endpoint) throws -> [UInt8] {
        let seen = try #require(Seen(syn))
        return TestSegment(
            source: source, destination: seen.packet.destination, sequence: seen.sequence, flags: .syn,
            options: seen.options.span.indices.map { seen.options.span[$0] }
        ).bytes
    }

    private func answer(_ pair: Pair, to source: Endpoint) throws -> Seen {
        pair.server.feed(
            TestSegment(
                source: pair.b, destination: source, sequence: 7000, acknowledgment: 1001, flags: [.syn, .ack],
                options: mss
            ).bytes, .outbound)
        return try #require(pair.server.takeSeen().last { $0.packet.destination == source })
    }

    private func finish(_ pair: Pair) {
        pair.settle()
        pair.serverSends(5000, 1001, [.syn, .ack], mss)
        pair.settle()
        pair.clientSends(1001, 5001, .ack)
        pair.settle()
    }

    /// An eavesdropper repeats the SYN, and the third ACK that it cannot sign, before the client's own arrive.
    @Test func aReplayDoesNotBurnTheSecret() throws {
        let (pair, syn) = try resuming()
        let copied = try copy(syn, from: stranger)
        pair.server.feed(copied, .inbound)
        let answer = try answer(pair, to: stranger)
        #expect(answer.hasENO)
        pair.server.arrive(stranger, pair.b, 1001, 7001, .ack, [69, 2])
        let resumptions = pair.server.engine.counters.resumptions
        finish(pair)
        #expect(pair.clientReport != nil && pair.server.engine.counters.resumptions == resumptions + 1)
        pair.clientSends(1001, 5001, [.ack, .psh], [], [1, 2, 3])
        _ = pair.server.takeKernel()
        pair.settle()
        #expect(pair.server.takeKernel().flatMap(\.payload) == [1, 2, 3])
        #expect(pair.server.engine.counters.aborts == 0)
    }

    /// What each of those who name a secret is answered differs, and there is an end to it: then keys are exchanged.
    @Test func attemptsDifferAndEnd() throws {
        let (pair, syn) = try resuming()
        var nonces: Set<[UInt8]> = []
        for number in 0..<20 as Range<UInt16> {
            let source = Endpoint(address: stranger.address, port: 1000 + number)
            pair.server.feed(try copy(syn, from: source), .inbound)
            let seen = try answer(pair, to: source)
            let option = try #require(seen.options.range(of: 69)).map { seen.options.span[$0] }
            // Kind, length, global suboption, TEP with v, nine bytes that name the secret, eight of nonce.
            if option.count == 21 { nonces.insert(Array(option.suffix(8))) } else { #expect(option.last == 0x23) }
        }
        #expect(nonces.count == Int(SecretChain.mostAttempts))
    }

    /// A peer that has nothing to say is asked to prove itself; an answer of another connection does not.
    @Test func aSilentOpenerIsAsked() throws {
        let (pair, _) = try resuming()
        pair.settle()
        pair.serverSends(5000, 1001, [.syn, .ack], mss)
        pair.settle()
        _ = pair.server.takeKernel()
        pair.server.arrive(pair.a, pair.b, 1001, 5001, .ack, [69, 2])
        // The kernel has its third ACK: nobody waits.
        #expect(pair.server.takeKernel().count == 1)
        let question = try #require(pair.server.toWire.compactMap { Seen($0) }.last)
        #expect(question.payload.first == 1 && question.payload.count == 20)
        let resumptions = pair.server.engine.counters.resumptions
        pair.clientSends(1001, 5001, .ack)
        pair.settle()
        #expect(pair.server.engine.counters.resumptions == resumptions + 1)
        let report = pair.server.engine.connections().flatMap(\.subflows).first { $0.remote == pair.a }
        #expect(report?.localGeneration == 1 && report?.remoteGeneration == 1)
    }
}
