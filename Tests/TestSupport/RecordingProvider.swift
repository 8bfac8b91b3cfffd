import Synchronization
public import Tcpcrypt

/// What was sealed under which key and nonce, over all hosts and connections of one run.
public final class NonceRecorder: Sendable {
    private struct Seal: Hashable {
        let key: [UInt8]
        let nonce: [UInt8]
    }

    private struct State {
        var frames: [Seal: UInt64] = [:]
        var violations: [String] = []
    }

    private let state = Mutex(State())

    public init() {}

    /// Each a nonce that met two different frames.
    public var violations: [String] { state.withLock { $0.violations } }
    public var count: Int { state.withLock { $0.frames.count } }

    func record(key: [UInt8], nonce: Span<UInt8>, _ parts: [Span<UInt8>.Fingerprint]) {
        var bytes: [UInt8] = []
        for index in 0..<nonce.count { bytes.append(nonce[index]) }
        let seal = Seal(key: key, nonce: bytes)
        let print = parts.reduce(UInt64(parts.count)) { ($0 ^ $1.hash &+ $1.count) &* 0x100_0000_01b3 }
        state.withLock { state in
            if let known = state.frames[seal] {
                if known != print { state.violations.append("nonce \(bytes) met two different frames") }
            } else {
                state.frames[seal] = print
            }
        }
    }
}

extension Span<UInt8> {
    /// Enough of a byte string to tell it from another.
    struct Fingerprint {
        let hash: UInt64
        let count: UInt64
    }

    var fingerprint: Fingerprint {
        var hash: UInt64 = 0xcbf2_9ce4_8422_2325
        for index in 0..<count { hash = (hash ^ UInt64(self[index])) &* 0x100_0000_01b3 }
        return Fingerprint(hash: hash, count: UInt64(count))
    }
}

/// A provider that tells a recorder of every frame it seals.
public final class RecordingProvider: ForwardingProvider {
    public let base: any CryptoProvider
    private let recorder: NonceRecorder

    public init(_ base: any CryptoProvider, recorder: NonceRecorder) {
        self.base = base
        self.recorder = recorder
    }

    public func aead(_ algorithm: AEADAlgorithm, key: Secret) -> any AEADKey {
        let bytes = key.copy
        return WatchedKey(base.aead(algorithm, key: key)) { [recorder] nonce, aad, head, plaintext in
            recorder.record(key: bytes, nonce: nonce, [aad.fingerprint, head.fingerprint, plaintext.fingerprint])
        }
    }
}
