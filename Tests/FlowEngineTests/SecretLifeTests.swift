import Tables
import Tcpcrypt
import Testing

@testable import FlowEngine

/// A secret that nobody needs any more is not kept.
@Suite struct SecretLifeTests {
    private func secrets(_ pair: Pair) -> [Bool] {
        [pair.client, pair.server].flatMap { $0.engine.flows.values.map { $0.secret != nil } }
    }

    @Test func theConnectionSecretGoesOnceKeysAreDerived() {
        let pair = Pair()
        pair.connect()
        #expect(secrets(pair) == [false, false])
        let resumed = Pair(port: 40_001, client: pair.client, server: pair.server)
        resumed.connect()
        #expect(secrets(pair) == [false, false, false, false])
        #expect(pair.clientReport?.aead == .aes128GCM && pair.clientReport?.secretIndex == 0)
    }

    @Test func theConnectionSecretGoesOnceJoinChainsAreDerived() {
        let pair = Pair()
        let multipath = Multipath(pair)
        multipath.connect()
        let other = Pair(port: 40_001, client: pair.client, server: pair.server)
        multipath.join(other)
        #expect(secrets(pair) == [false, false, false, false])
        #expect(pair.server.engine.counters.joins == 1)
    }
}
