import OpenSSLProvider
import Tcpcrypt
import Testing

/// The algorithms against what their specifications publish. The golden vectors' second implementation stands on the same library as ours,
/// so agreement with it proves nothing of these.
@Suite struct PublishedVectorTests {
    struct Agreement: Sendable, CustomTestStringConvertible {
        let tep: TEP
        let privateA: String
        let publicA: String
        let privateB: String
        let publicB: String
        let shared: String

        var testDescription: String { tep.name }
    }

    static let agreements = [
        // RFC 7748 section 6.1.
        Agreement(
            tep: .curve25519, privateA: "77076d0a7318a57d3c16c17251b26645df4c2f87ebc0992ab177fba51db92c2a",
            publicA: "8520f0098930a754748b7ddcb43ef75a0dbf3a0d26381af4eba4a98eaa9b4e6a",
            privateB: "5dab087e624a8a4b79e17f8b83800ee66f3bb1292618b6fd1c2f8b27ff88e0eb",
            publicB: "de9edb7d7b7dc1b4d35b61c2ece435373f8343c85b78674dadfc7e146f882b4f",
            shared: "4a5d9d5ba4ce2de1728e3bf480350f25e07e21c947d19e3376f09b3c1e161742"),
        // RFC 7748 section 6.2.
        Agreement(
            tep: .curve448,
            privateA: "9a8f4925d1519f5775cf46b04b5800d4ee9ee8bae8bc5565d498c28d"
                + "d9c9baf574a9419744897391006382a6f127ab1d9ac2d8c0a598726b",
            publicA: "9b08f7cc31b7e3e67d22d5aea121074a273bd2b83de09c63faa73d2c"
                + "22c5d9bbc836647241d953d40c5b12da88120d53177f80e532c41fa0",
            privateB: "1c306a7ac2a0e2e0990b294470cba339e6453772b075811d8fad0d1d"
                + "6927c120bb5ee8972b0d3e21374c9c921b09d1b0366f10b65173992d",
            publicB: "3eb7a829b0cd20f5bcfc0b599b6feccf6da4627107bdb0d4f345b430"
                + "27d8b972fc3e34fb4232a13ca706dcb57aec3dae07bdc1c67bf33609",
            shared: "07fff4181ac6cc95ec1c16a94a0f74d12da232ce40a77552281d282b"
                + "b60c0b56fd2464c335543936521c24403085d59a449a5037514a879d"),
        // RFC 5903 section 8.1, with the public keys compressed and their length in front (RFC 8548 section 5).
        Agreement(
            tep: .p256, privateA: "c88f01f510d9ac3f70a292daa2316de544e9aab8afe84049c62a9c57862d1433",
            publicA: "0021 03dad0b65394221cf9b051e1feca5787d098dfe637fc90b9ef945d0c3772581180",
            privateB: "c6ef9c5d78ae012a011164acb397ce2088685d8f06bf9be0b283ab46476bee53",
            publicB: "0021 03d12dfb5289c8d4f81208b70270398c342296970a0bccb74c736fc7554494bf63",
            shared: "d6840f6b42f6edafd13116e0e12565202fef8e9ece7dce03812464d04b9442de"),
    ]

    @Test(arguments: agreements) func agreement(_ vector: Agreement) {
        let a = provider.keyPair(vector.tep, ScriptedRandom(vector.privateA.hex))
        let b = provider.keyPair(vector.tep, ScriptedRandom(vector.privateB.hex))
        #expect([a.publicKey, b.publicKey].contains(vector.publicA.hex))
        #expect([a.publicKey, b.publicKey].contains(vector.publicB.hex))
        #expect(a.agree(b.publicKey)?.array == vector.shared.hex)
        #expect(b.agree(a.publicKey)?.array == vector.shared.hex)
    }

    /// Test cases 2 and 14 of the GCM specification (McGrew, Viega), which have keys, nonces and texts of zeros.
    @Test(arguments: [
        (AEADAlgorithm.aes128GCM, "0388dace60b6a392f328c2b971b2fe78 ab6e47d42cec13bdf53a67b21257bddf"),
        (.aes256GCM, "cea7403d4d606b6e074ec5d3baf39d18 d0d1c8a799996bf0265b98b5d48ab919"),
    ])
    func gcm(_ algorithm: AEADAlgorithm, _ ciphertext: String) {
        let key = provider.aead(algorithm, key: Secret(count: algorithm.keyLength) { _ in })
        let zeros = [UInt8](repeating: 0, count: 16)
        #expect(key.sealed(nonce: Array(zeros.prefix(12)), aad: [], head: [], zeros) == ciphertext.hex)
    }

    /// RFC 8439 section 2.8.2.
    @Test func chachaPoly() {
        let key = provider.aead(.chacha20Poly1305, key: Secret(copying: (0x80...0x9f).map { $0 }.span))
        let text =
            "Ladies and Gentlemen of the class of '99: If I could offer you only one tip for the future, sunscreen would be it."
        let sealed = key.sealed(
            nonce: "070000004041424344454647".hex, aad: "50515253c0c1c2c3c4c5c6c7".hex, head: [], Array(text.utf8))
        #expect(sealed?.prefix(16) == "d31a8d34648e60db7b86afbc53ef7ec2".hex[...])
        #expect(sealed?.suffix(16) == "1ae10b594f09e26a7e902ecbd0600691".hex[...])
    }
}
