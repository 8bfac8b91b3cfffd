import OpenSSLProvider
import PacketWire
import Tcpcrypt
import Testing

@testable import FlowEngine

/// What RFC 8547 and RFC 8548 ask for and a peer of our own never shows (`Scenarios/interop` holds all of it against a foreign one).
@Suite struct PeerRulesTests {
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
