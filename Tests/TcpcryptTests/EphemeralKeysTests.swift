import OpenSSLProvider
import Tcpcrypt
import Testing

/// Key pairs serve several exchanges, within limits of time and number.
@Suite struct EphemeralKeysTests {
    private let crypto = OpenSSLProvider()
    private let random = SystemRandom()

    private func key(_ keys: inout EphemeralKeys, _ tep: TEP = .curve25519, at now: Int64) -> [UInt8] {
        keys.pair(tep, now: now, crypto, random).pair.publicKey
    }

    @Test func theyServeSeveralExchanges() {
        var keys = EphemeralKeys()
        let first = key(&keys, at: 1000)
        for _ in 1..<EphemeralKeys.mostUses { #expect(key(&keys, at: 1001) == first) }
        #expect(key(&keys, at: 1001) != first)
    }

    @Test func theyAreForgottenInTime() {
        var keys = EphemeralKeys()
        let first = key(&keys, at: 1000)
        #expect(keys.expiry == 1000 + EphemeralKeys.lifetime)
        keys.forget(now: 999 + EphemeralKeys.lifetime)
        #expect(key(&keys, at: 999 + EphemeralKeys.lifetime) == first)
        // Also where nobody has forgotten them yet.
        let second = key(&keys, at: 1000 + EphemeralKeys.lifetime)
        #expect(second != first)
        keys.forget(now: 1000 + 2 * EphemeralKeys.lifetime)
        #expect(keys.expiry == nil)
    }

    @Test func eachCurveHasItsOwn() {
        var keys = EphemeralKeys()
        let first = key(&keys, at: 1)
        let other = key(&keys, .p256, at: 100)
        #expect(other.count != first.count)
        keys.forget(now: 1 + EphemeralKeys.lifetime)
        #expect(keys.expiry == 100 + EphemeralKeys.lifetime)
        #expect(key(&keys, .p256, at: 101) == other)
    }
}
