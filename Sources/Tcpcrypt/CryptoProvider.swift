/// Where random bytes come from. Injected, so that tests can repeat a run.
public protocol RandomSource: AnyObject {
    /// `count` unpredictable bytes.
    func bytes(_ count: Int) -> [UInt8]
}

/// The algorithms of RFC 8548 sections 5 and 6. Nothing here fails for what a peer sent, except where it says so.
public protocol CryptoProvider: AnyObject, Sendable {
    /// SHA-256: 32 bytes.
    func sha256(_ data: Span<UInt8>) -> [UInt8]

    /// HKDF-Extract with SHA-256: 32 bytes (RFC 8548 section 3.1).
    func extract(salt: Span<UInt8>, _ material: Span<UInt8>) -> Secret

    /// HKDF-Expand with SHA-256, the CPRF of RFC 8548 section 3.1.
    /// - Parameters:
    ///   - key: 32 bytes.
    ///   - info: the constant and its context.
    ///   - count: bytes wanted, at most ``Secret/capacity``.
    func expand(_ key: Secret, info: Span<UInt8>, count: Int) -> Secret

    /// A key of `algorithm.keyLength` bytes, ready for use. A provider without the algorithm gives a key that
    /// refuses everything.
    func aead(_ algorithm: AEADAlgorithm, key: Secret) -> any AEADKey

    /// A key pair made from `random` alone. A provider without the curve gives one that agrees with nobody.
    func keyPair(_ tep: TEP, _ random: any RandomSource) -> any EphemeralKeyPair
}

/// One AEAD key with its schedule. Sealing and opening allocate nothing.
public protocol AEADKey: AnyObject {
    /// Encrypts `head` followed by `plaintext`.
    /// - Parameters:
    ///   - nonce: 12 bytes, never used before with this key.
    ///   - aad: authenticated but not sent.
    ///   - head: the beginning of what is encrypted.
    ///   - plaintext: the rest of it.
    ///   - output: receives the ciphertext and the tag, head + plaintext + 16 bytes.
    /// - Returns: false where nothing usable was written: `output` too short, or the library failed.
    func seal(
        nonce: Span<UInt8>, aad: Span<UInt8>, head: Span<UInt8>, plaintext: Span<UInt8>,
        into output: inout MutableSpan<UInt8>
    ) -> Bool

    /// Decrypts: the first `head.count` bytes of the plaintext go to `head`, the rest to `output`.
    /// - Parameters:
    ///   - nonce: 12 bytes, the sealer's.
    ///   - aad: the sealer's.
    ///   - ciphertext: with its tag, at least `head.count` + 16 bytes.
    ///   - head: receives as many bytes as it is long.
    ///   - output: receives the others; at least `ciphertext.count` - `head.count` - 16 bytes.
    /// - Returns: whether it authenticated. If not, `head` and `output` hold zeros where they were written.
    func open(
        nonce: Span<UInt8>, aad: Span<UInt8>, ciphertext: Span<UInt8>, head: inout MutableSpan<UInt8>,
        into output: inout MutableSpan<UInt8>
    ) -> Bool
}

/// A private key for one key exchange; erased with its last owner.
public protocol EphemeralKeyPair: AnyObject {
    /// As Init1 and Init2 carry it: `TEP.publicKeyLength` bytes.
    var publicKey: [UInt8] { get }

    /// The shared secret ES with the owner of `peerKey`, which is in the form of ``publicKey``.
    /// - Returns: nil where the key fails validation (RFC 8548 section 5): not on the curve, not compressed, or
    ///   forcing the all-zero secret.
    func agree(with peerKey: Span<UInt8>) -> Secret?
}
