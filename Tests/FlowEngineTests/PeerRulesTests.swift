import OpenSSLProvider
import PacketWire
import Tcpcrypt
import Testing

@testable import FlowEngine

/// What RFC 8547 and RFC 8548 ask for and a peer of our own never shows (`Scenarios/interop` holds all of it against a foreign one).
@Suite struct PeerRulesTests {
    // MARK: FINp (RFC 8548 section 3.7)

    @Test func finpIsAnEndOfFileWithoutAFIN() throws {
        let attacker = HandMade(TestHost(seed: 1))
        attacker.open()
        let sequence = attacker.seq
        attacker.send(attacker.frame([1, 2], fin: true), at: sequence)
        let last = try #require(attacker.host.takeKernel().last)
        #expect(last.packet.flags.contains(.fin) && last.payload == [1, 2])

        // The kernel acknowledges the FIN; the wire's has not come, and is not acknowledged.
        attacker.host.leave(attacker.there, attacker.here, 5001, 1004, .ack)
        #expect(attacker.host.takeSeen().last?.acknowledgment == attacker.seq)
        // What the peer acknowledges meanwhile reaches the kernel where it stands.
        attacker.send([], at: attacker.seq)
        #expect(attacker.host.takeKernel().last?.sequence == 1004)
        #expect(try !attacker.flow().receive.isFinished)

        attacker.send([], at: attacker.seq, [.ack, .fin])
        #expect(attacker.host.takeSeen().last?.acknowledgment == attacker.seq &+ 1)
        #expect(attacker.host.takeKernel().isEmpty)
        #expect(try attacker.flow().receive.isFinished)
    }

    /// The kernel may lose the FIN that it was given: the repeated frame brings it again.
    @Test func anEarlyFINIsRepeated() throws {
        let attacker = HandMade(TestHost(seed: 1))
        attacker.open()
        let sequence = attacker.seq
        let frame = attacker.frame([1], fin: true)
        for _ in 0..<2 {
            attacker.send(frame, at: sequence)
            let last = try #require(attacker.host.takeKernel().last)
            #expect(last.packet.flags.contains(.fin) && last.payload == [1])
        }
    }

    // MARK: Keep-alive (RFC 8548 section 3.9)

    /// A window probe asks for something else.
    @Test func aWindowProbeStaysOne() throws {
        let attacker = HandMade(TestHost(seed: 1))
        attacker.open()
        let end = 5001 &+ UInt32(try attacker.flow().send.nextW)
        let closed = TestSegment(
            source: attacker.here, destination: attacker.there, sequence: attacker.seq, acknowledgment: end,
            flags: .ack, window: 0)
        attacker.host.feed(closed.bytes, .inbound)
        attacker.host.leave(attacker.there, attacker.here, 5000, 1001, .ack)
        let seen = try #require(attacker.host.takeSeen().last)
        #expect(seen.payload.isEmpty && seen.sequence == end &- 1)
    }

    /// A kernel that asked for life before waits for a window that the peer took back: it has to see it open.
    @Test func aWindowThatOpensIsNews() throws {
        let attacker = HandMade(TestHost(seed: 1))
        attacker.open()
        let acknowledge = { (window: UInt16) in
            let end = 5001 &+ UInt32(try attacker.flow().send.nextW)
            attacker.host.feed(
                TestSegment(
                    source: attacker.here, destination: attacker.there, sequence: attacker.seq, acknowledgment: end,
                    flags: .ack, window: window
                ).bytes, .inbound)
        }
        attacker.host.leave(attacker.there, attacker.here, 5000, 1001, .ack)
        attacker.host.leave(attacker.there, attacker.here, 5001, 1001, [.ack, .psh], [], [1, 2, 3])
        try acknowledge(0)
        #expect(attacker.host.takeKernel().last?.packet.window == 0)
        try acknowledge(60_000)
        #expect(attacker.host.takeKernel().count == 1)
        try acknowledge(60_000)
        #expect(attacker.host.takeKernel().isEmpty)
    }

    // MARK: Init1 (RFC 8548 section 3.3)

    @Test func init1MayComeByteByByte() throws {
        let attacker = HandMade(TestHost(seed: 1))
        let transcript = attacker.openTCP()
        let exchange = KeyExchangeA(
            tep: .curve25519, aeads: [.aes128GCM], transcript: transcript, crypto: OpenSSLProvider(),
            random: CountingRandom(99))
        for (index, byte) in exchange.init1.enumerated() {
            attacker.send([byte], at: 1001 &+ UInt32(index))
        }
        let answer = try #require(attacker.host.takeSeen().last { !$0.payload.isEmpty })
        #expect(answer.acknowledgment == 1001 &+ UInt32(exchange.init1.count))
        #expect(try attacker.flow().phase == .encrypted)
        #expect(attacker.host.held == 0)
    }

    // MARK: The handshake (RFC 8547 section 4.6)

    @Test func aSYNThatComesAgainWithoutENOMakesTheConnectionPlain() throws {
        let attacker = HandMade(TestHost(seed: 1))
        #expect(!attacker.openTCP().isEmpty)
        attacker.host.arrive(attacker.here, attacker.there, 1000, 0, .syn, mss)
        _ = attacker.host.takeKernel()
        attacker.host.leave(attacker.there, attacker.here, 5000, 1001, [.syn, .ack], mss)
        #expect(attacker.host.takeSeen().last?.hasENO == false)
    }

    /// How the other end's first ACK segment looks.
    enum FirstACK: CaseIterable { case synACK, ack, ackWithoutENO }

    /// Both ends open; the other one says b = 1, and is host B.
    @Test(arguments: FirstACK.allCases) func simultaneousOpen(_ first: FirstACK) throws {
        let host = TestHost(seed: 1)
        let here = Endpoint(address: IPAddress(ipv4: 0x0a00_0002), port: 40_000)
        host.leave(here, stranger, 5000, 0, .syn, mss)
        let offer = try #require(host.takeSeen().last)
        let option = try #require(offer.options.contents(of: 69))
        host.arrive(stranger, here, 1000, 0, .syn, mss + [69, 4, 1, 0x23])
        #expect(host.takeKernel().last?.hasENO == false)
        host.leave(here, stranger, 5000, 1001, [.syn, .ack], mss)
        #expect(host.takeSeen().last?.options.contents(of: 69) == option)

        switch first {
        case .synACK:
            host.arrive(stranger, here, 1000, 5001, [.syn, .ack], mss + [69, 4, 1, 0x23])
            host.leave(here, stranger, 5001, 1001, .ack)
        case .ack: host.arrive(stranger, here, 1001, 5001, .ack, [69, 2])
        case .ackWithoutENO: host.arrive(stranger, here, 1001, 5001, .ack)
        }
        let isEncrypted = first != .ackWithoutENO
        let message = host.takeSeen().last
        #expect((message?.payload.starts(with: [0x15, 0x10, 0x1a, 0x0e]) ?? false) == isEncrypted)
        #expect((message?.hasENO ?? false) == isEncrypted)
        let state = host.engine.connections().flatMap(\.subflows).first?.state
        #expect(state == (isEncrypted ? .handshake : .plain))
    }

    @Test func simultaneousOpenWithoutAHostBIsPlain() throws {
        let host = TestHost(seed: 1)
        let here = Endpoint(address: IPAddress(ipv4: 0x0a00_0002), port: 40_000)
        host.leave(here, stranger, 5000, 0, .syn, mss)
        _ = host.takeWire()
        host.arrive(stranger, here, 1000, 0, .syn, mss + [69, 3, 0x23])
        host.leave(here, stranger, 5000, 1001, [.syn, .ack], mss)
        #expect(host.takeSeen().last?.hasENO == false)
    }
}
