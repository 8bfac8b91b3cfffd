public import Tcpcrypt

/// A provider that leaves to another what it does not do itself.
public protocol ForwardingProvider: CryptoProvider {
    var base: any CryptoProvider { get }
}

extension ForwardingProvider {
    public func sha256(_ data: Span<UInt8>) -> [UInt8] { base.sha256(data) }

    public func extract(salt: Span<UInt8>, _ material: Span<UInt8>) -> Secret {
        base.extract(salt: salt, material)
    }

    public func expand(_ key: Secret, info: Span<UInt8>, count: Int) -> Secret {
        base.expand(key, info: info, count: count)
    }

    public func aead(_ algorithm: AEADAlgorithm, key: Secret) -> any AEADKey { base.aead(algorithm, key: key) }

    public func keyPair(_ tep: TEP, _ random: any RandomSource) -> any EphemeralKeyPair {
        base.keyPair(tep, random)
    }
}

/// A key that tells of what it seals and opens.
public final class WatchedKey: AEADKey {
    public typealias Sealing = (
        _ nonce: Span<UInt8>, _ aad: Span<UInt8>, _ head: Span<UInt8>, _ plaintext: Span<UInt8>
    ) -> Void

    private let base: any AEADKey
    private let onSeal: Sealing
    private let onOpen: (_ plaintextCount: Int) -> Void

    /// - Parameters:
    ///   - onSeal: called before each frame is sealed.
    ///   - onOpen: called after each that authenticated; how many bytes there were behind the head.
    public init(
        _ base: any AEADKey, onSeal: @escaping Sealing, onOpen: @escaping (_ plaintextCount: Int) -> Void = { _ in }
    ) {
        self.base = base
        self.onSeal = onSeal
        self.onOpen = onOpen
    }

    public func seal(
        nonce: Span<UInt8>, aad: Span<UInt8>, head: Span<UInt8>, plaintext: Span<UInt8>,
        into output: inout MutableSpan<UInt8>
    ) -> Bool {
        onSeal(nonce, aad, head, plaintext)
        return base.seal(nonce: nonce, aad: aad, head: head, plaintext: plaintext, into: &output)
    }

    public func open(
        nonce: Span<UInt8>, aad: Span<UInt8>, ciphertext: Span<UInt8>, head: inout MutableSpan<UInt8>,
        into output: inout MutableSpan<UInt8>
    ) -> Bool {
        let isGenuine = base.open(nonce: nonce, aad: aad, ciphertext: ciphertext, head: &head, into: &output)
        if isGenuine { onOpen(ciphertext.count - head.count - AEADAlgorithm.aes128GCM.tagLength) }
        return isGenuine
    }
}

extension Secret {
    /// Its bytes, to know it by.
    public var copy: [UInt8] { withBytes { bytes in bytes.indices.map { bytes[$0] } } }
}
