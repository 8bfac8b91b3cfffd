import PacketWire
import Tcpcrypt
import Testing

@testable import FlowEngine

/// What is configured is what is used (RFC 8548 sections 5 and 6).
@Suite struct AlgorithmTests {
    private func host(_ seed: UInt64, _ teps: [TEP], _ aeads: [AEADAlgorithm]) -> TestHost {
        TestHost(seed: seed) {
            $0.teps = teps
            $0.aeads = aeads
        }
    }

    private func used(_ pair: Pair) -> [String] {
        [pair.client, pair.server].map { host in
            let subflow = host.engine.connections().flatMap(\.subflows).last { $0.state == .encrypted }
            return "\(subflow?.tep?.name ?? "none") \(subflow?.aead?.name ?? "none")"
        }
    }

    /// Key exchange, data in both directions, and a second connection that resumes.
    @Test(arguments: TEP.allCases, AEADAlgorithm.allCases) func eachWithEach(_ tep: TEP, _ aead: AEADAlgorithm) {
        let (client, server) = (host(1, [tep], [aead]), host(2, [tep], [aead]))
        for (port, origin) in [(UInt16(40_000), Origin.fresh), (40_001, .resumed)] {
            let pair = Pair(port: port, client: client, server: server)
            pair.connect()
            #expect(used(pair) == [String](repeating: "\(tep.name) \(aead.name)", count: 2))
            for host in [client, server] {
                #expect(host.engine.connections().flatMap(\.subflows).contains { $0.origin == origin })
                _ = host.takeKernel()
            }
            pair.clientSends(1001, 5001, [.ack, .psh], [], [1, 2, 3])
            pair.serverSends(5001, 1001, [.ack, .psh], [], [4, 5])
            pair.settle()
            #expect(server.takeKernel().flatMap(\.payload) == [1, 2, 3])
            #expect(client.takeKernel().flatMap(\.payload) == [4, 5])
        }
    }

    /// Host B chooses, by its own order, among what A offers.
    @Test func theAcceptorsPreferenceCounts() {
        let pair = Pair(
            client: host(1, [.p256, .curve448, .curve25519], [.aes256GCM, .chacha20Poly1305, .aes128GCM]),
            server: host(2, [.p521, .curve25519, .p256], [.aes128GCM, .aes256GCM]))
        pair.connect()
        #expect(used(pair) == [String](repeating: "TCPCRYPT_ECDHE_Curve25519 AEAD_AES_128_GCM", count: 2))
    }

    /// Nothing in common: plain TCP where it shows in the SYNs, an error where it shows in Init1.
    @Test func nothingInCommon() {
        let plain = Pair(client: host(1, [.p256], [.aes128GCM]), server: host(2, [.p521], [.aes128GCM]))
        plain.connect()
        #expect(plain.serverReport?.reason == .noCommonTEP && plain.clientReport?.state == .plain)
        let broken = Pair(client: host(1, [.p256], [.aes128GCM]), server: host(2, [.p256], [.aes256GCM]))
        broken.connect()
        let tuple = FlowTuple(local: broken.b, remote: broken.a)
        #expect(broken.server.actions.contains(.log(.aborted(tuple, .cipher))))
        #expect(broken.server.actions.contains(.destroySocket(tuple)))
    }
}
