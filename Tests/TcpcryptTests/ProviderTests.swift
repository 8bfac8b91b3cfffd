import OpenSSLProvider
import Tcpcrypt
import Testing

/// libcrypto behind the protocols, against published test vectors.
@Suite struct ProviderTests {
    @Test func sha256() {
        let abc = provider.sha256(Array("abc".utf8).span)
        #expect(abc == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad".hex)
        let empty = provider.sha256([UInt8]().span)
        #expect(empty == "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855".hex)
    }

    /// RFC 5869 appendix A.1 (and A.3: empty salt and info).
    @Test func hkdf() {
        let material = [UInt8](repeating: 0x0b, count: 22)
        let key = provider.extract(salt: "000102030405060708090a0b0c".hex.span, material.span)
        #expect(key.array == "077709362c2e32df0ddc3f0dc47bba6390b6c73bb50f9c3122ec844ad7c2b3e5".hex)
        let output = provider.expand(key, info: "f0f1f2f3f4f5f6f7f8f9".hex.span, count: 42)
        #expect(
            output.array == "3cb25f25faacd57a90434f64d0362f2a2d2d0a90cf1a5a4c5db02d56ecc4c5bf34007208d5b887185865".hex)
        let bare = provider.extract(salt: [UInt8]().span, material.span)
        #expect(bare.array == "19ef24a32c717b167f33a91d6f648bdf96596776afdb6377ac434c1c293ccb04".hex)
        let expanded = provider.expand(bare, info: [UInt8]().span, count: 42)
        #expect(
            expanded.array
                == "8da4e775a563c18f715f802a063c5a31b8a11f5c5ee1879ec3454e5f3c738d2d9d201395faa4b61a96c8".hex)
    }

    @Test(arguments: TEP.allCases)
    func agreement(_ tep: TEP) throws {
        let random = SeededRandom(UInt64(tep.rawValue))
        let a = provider.keyPair(tep, random)
        let b = provider.keyPair(tep, SystemRandom())
        #expect(a.publicKey.count == tep.publicKeyLength)
        let left = try #require(a.agree(b.publicKey))
        let right = try #require(b.agree(a.publicKey))
        #expect(left.matches(right))
    }

    /// RFC 8548 section 5: validation and the all-zero check. Every hostile key is refused, none traps.
    @Test(arguments: TEP.allCases)
    func badPublicKeys(_ tep: TEP) {
        let pair = provider.keyPair(tep, SeededRandom(3))
        let good = provider.keyPair(tep, SeededRandom(4)).publicKey
        for length in 0..<good.count { #expect(pair.agree(Array(good[0..<length])) == nil) }
        #expect(pair.agree(good + [0]) == nil)
        #expect(pair.agree([UInt8](repeating: 0, count: good.count)) == nil)
        if [.curve25519, .curve25519MPTCP, .curve448].contains(tep) {
            let one = [1] + [UInt8](repeating: 0, count: good.count - 1)
            #expect(pair.agree(one) == nil)
        } else {
            for prefix: UInt8 in [0, 1, 4, 5, 6, 7, 0xff] {
                var bad = good
                bad[2] = prefix
                #expect(pair.agree(bad) == nil)
            }
            var offCurve = good
            offCurve.replaceSubrange(3..., with: [UInt8](repeating: 0xff, count: good.count - 3))
            #expect(pair.agree(offCurve) == nil)
        }
    }

    /// Points that are not on the curve are about half of all x coordinates.
    @Test(arguments: [TEP.p256, .p521])
    func randomPoints(_ tep: TEP) {
        let pair = provider.keyPair(tep, SeededRandom(3))
        let random = SeededRandom(9)
        var refused = 0
        for _ in 0..<64 {
            var key = pair.publicKey
            for index in 4..<key.count { key[index] = UInt8(random.below(256)) }
            if pair.agree(key) == nil { refused += 1 }
        }
        #expect((8...56).contains(refused))
    }

    /// A random source that only gives zeros never makes a NIST scalar; the pair agrees with nobody.
    @Test func deadKeyPair() {
        let pair = provider.keyPair(.p256, ScriptedRandom())
        #expect(pair.publicKey.count == TEP.p256.publicKeyLength)
        #expect(pair.agree(provider.keyPair(.p256, SeededRandom(1)).publicKey) == nil)
    }

    @Test(arguments: AEADAlgorithm.allCases)
    func sealAndOpen(_ algorithm: AEADAlgorithm) throws {
        let key = provider.aead(
            algorithm, key: Secret(copying: SeededRandom(1).bytes(algorithm.keyLength).span))
        let nonce = SeededRandom(2).bytes(12)
        for count in [0, 1, 15, 16, 17, 300] {
            let plain = SeededRandom(3).bytes(count)
            let sealed = try #require(key.sealed(nonce: nonce, aad: [1, 2, 3], head: [9], plain))
            let opened = key.opened(nonce: nonce, aad: [1, 2, 3], headLength: 1, sealed)
            #expect(opened.done && opened.head == [9] && opened.output == plain)
            #expect(!key.opened(nonce: nonce, aad: [1, 2, 4], headLength: 1, sealed).done)
        }
    }

    /// What did not authenticate leaves nothing behind.
    @Test(arguments: AEADAlgorithm.allCases)
    func failureLeavesZeros(_ algorithm: AEADAlgorithm) {
        let key = provider.aead(algorithm, key: Secret(count: algorithm.keyLength) { _ in })
        let nonce = [UInt8](repeating: 0, count: 12)
        let opened = key.opened(nonce: nonce, aad: [], headLength: 1, SeededRandom(7).bytes(60))
        #expect(!opened.done && opened.head == [0] && opened.output.allSatisfy { $0 == 0 })
        for count in 0..<17 {
            #expect(!key.opened(nonce: nonce, aad: [], headLength: 1, SeededRandom(7).bytes(count)).done)
        }
    }

    @Test func wrongKeyLengthRefusesEverything() {
        let key = provider.aead(.aes256GCM, key: Secret(count: 16) { _ in })
        let nonce = [UInt8](repeating: 0, count: 12)
        #expect(key.sealed(nonce: nonce, aad: [], head: [], []) == nil)
        #expect(!key.opened(nonce: nonce, aad: [], headLength: 0, SeededRandom(7).bytes(60)).done)
    }

    @Test func allAlgorithmsArePresent() { #expect(provider.aeads == AEADAlgorithm.allCases) }

    @Test func systemRandom() {
        let random = SystemRandom()
        #expect(random.bytes(0).isEmpty)
        #expect(random.bytes(32) != random.bytes(32))
    }

    @Test func secretsAreNotPrinted() {
        let secret = Secret(copying: [1, 2, 3].span)
        #expect("\(secret)" == "Secret(3 bytes)")
        #expect(String(reflecting: secret) == "Secret(3 bytes)")
        var text = ""
        dump(secret, to: &text)
        #expect(!text.contains("storage"))
        #expect(secret.matches(Secret(copying: [1, 2, 3].span)))
        #expect(!secret.matches(Secret(copying: [1, 2, 4].span)))
        #expect(!secret.matches(Secret(copying: [1, 2].span)))
    }
}
