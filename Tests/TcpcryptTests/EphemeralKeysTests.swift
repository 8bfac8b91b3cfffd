import OpenSSLProvider
import Tcpcrypt
import TestSupport
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
        keys.renew(now: 999 + EphemeralKeys.lifetime, crypto, random)
        #expect(key(&keys, at: 999 + EphemeralKeys.lifetime) == first)
        // Also where nobody has forgotten them yet.
        let second = key(&keys, at: 1000 + EphemeralKeys.lifetime)
        #expect(second != first)
        keys.renew(now: 1000 + 2 * EphemeralKeys.lifetime, crypto, random)
        #expect(keys.expiry == nil)
    }

    @Test func eachCurveHasItsOwn() {
        var keys = EphemeralKeys()
        let first = key(&keys, at: 1)
        let other = key(&keys, .p256, at: 100)
        #expect(other.count != first.count)
        keys.renew(now: 1 + EphemeralKeys.lifetime, crypto, random)
        #expect(keys.expiry == 100 + EphemeralKeys.lifetime)
        #expect(key(&keys, .p256, at: 101) == other)
    }

    /// Nobody waits for the pair that follows one whose time is over.
    @Test func theNextIsReady() {
        var keys = EphemeralKeys()
        let first = key(&keys, at: 1000)
        keys.renew(now: 1000 + EphemeralKeys.lifetime, crypto, random)
        #expect(keys.expiry == nil)
        let none = NoKeys()
        let second = keys.pair(.curve25519, now: 9000, none, random)
        #expect(second.isNew && second.pair.publicKey != first && !second.pair.publicKey.isEmpty)
        // It is of one use, as all are: the one after it has to be made.
        #expect(keys.pair(.curve25519, now: 9000 + EphemeralKeys.lifetime, none, random).pair.publicKey.isEmpty)
    }
}

/// Makes key pairs that can be told from others.
private final class NoKeys: ForwardingProvider {
    private final class NoPair: EphemeralKeyPair {
        let publicKey: [UInt8] = []

        func agree(with peerKey: Span<UInt8>) -> Secret? { nil }
    }

    let base: any CryptoProvider = OpenSSLProvider()

    func keyPair(_ tep: TEP, _ random: any RandomSource) -> any EphemeralKeyPair { NoPair() }
}
