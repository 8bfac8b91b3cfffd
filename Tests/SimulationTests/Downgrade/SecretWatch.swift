import Synchronization
import Tcpcrypt

/// A provider that sees to it that no session secret protects two connections: of all keys derived from one, with whatever nonces, at either
/// host, data is sealed under those of one session nonce only.
final class SecretWatch: CryptoProvider {
    private struct Origin {
        let parent: [UInt8]
        let constant: UInt8
    }

    private struct State {
        /// Where keys came from, by their bytes; traffic keys by their first ``keyLength``.
        var origins: [[UInt8]: Origin] = [:]
        /// The master key under which data was sealed, by the secret it was derived from.
        var uses: [[UInt8]: [UInt8]] = [:]
        var violations: [String] = []
    }

    private let base: any CryptoProvider
    private let state = Mutex(State())
    /// Of AES-128-GCM, the only algorithm in these runs.
    private static let keyLength = 16
    /// RFC 8548 section 4.3.
    private static let rekey: UInt8 = 3
    private static let keys: ClosedRange<UInt8> = 4...5

    init(_ base: any CryptoProvider) { self.base = base }

    var violations: [String] { state.withLock { $0.violations } }
    /// Secrets that have protected data.
    var count: Int { state.withLock { $0.uses.count } }

    func sha256(_ data: Span<UInt8>) -> [UInt8] { base.sha256(data) }

    func extract(salt: Span<UInt8>, _ material: Span<UInt8>) -> Secret { base.extract(salt: salt, material) }

    func expand(_ key: Secret, info: Span<UInt8>, count: Int) -> Secret {
        let derived = base.expand(key, info: info, count: count)
        let constant = info[0]
        guard constant == Self.rekey || Self.keys.contains(constant) else { return derived }
        let name = Self.keys.contains(constant) ? Array(derived.copy.prefix(Self.keyLength)) : derived.copy
        state.withLock { $0.origins[name] = Origin(parent: key.copy, constant: constant) }
        return derived
    }

    func aead(_ algorithm: AEADAlgorithm, key: Secret) -> any AEADKey {
        WatchedKey(base.aead(algorithm, key: key), bytes: key.copy, watch: self)
    }

    func keyPair(_ tep: TEP, _ random: any RandomSource) -> any EphemeralKeyPair { base.keyPair(tep, random) }

    fileprivate func noteData(under key: [UInt8]) {
        state.withLock { state in
            guard var master = state.origins[key]?.parent, var origin = state.origins[master] else { return }
            // Later generations of one connection lead back to its first master key.
            while let earlier = state.origins[origin.parent], earlier.constant == Self.rekey {
                (master, origin) = (origin.parent, earlier)
            }
            unsafe print("USE \(debugTime()) secret \(origin.parent.prefix(3)) master \(master.prefix(3))")
            if let used = state.uses[origin.parent] {
                if used != master { state.violations.append("a session secret protects two connections") }
            } else {
                state.uses[origin.parent] = master
            }
        }
    }
}

extension Secret {
    fileprivate var copy: [UInt8] { withBytes { bytes in bytes.indices.map { bytes[$0] } } }
}

private final class WatchedKey: AEADKey {
    private let base: any AEADKey
    private let bytes: [UInt8]
    private let watch: SecretWatch

    init(_ base: any AEADKey, bytes: [UInt8], watch: SecretWatch) {
        self.base = base
        self.bytes = bytes
        self.watch = watch
    }

    func seal(
        nonce: Span<UInt8>, aad: Span<UInt8>, head: Span<UInt8>, plaintext: Span<UInt8>,
        into output: inout MutableSpan<UInt8>
    ) -> Bool {
        if !plaintext.isEmpty { watch.noteData(under: bytes) }
        return base.seal(nonce: nonce, aad: aad, head: head, plaintext: plaintext, into: &output)
    }

    func open(
        nonce: Span<UInt8>, aad: Span<UInt8>, ciphertext: Span<UInt8>, head: inout MutableSpan<UInt8>,
        into output: inout MutableSpan<UInt8>
    ) -> Bool {
        base.open(nonce: nonce, aad: aad, ciphertext: ciphertext, head: &head, into: &output)
    }
}

nonisolated(unsafe) var debugTime: () -> Int64 = { 0 }
