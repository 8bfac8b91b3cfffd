import Synchronization
import Tcpcrypt
import TestSupport

/// A provider that sees to it that no secret protects two connections: of all keys derived from one, with whatever nonces, at either host, data
/// crosses under those of one session nonce only.
///
/// What counts is that data authenticates, and of a join that it is sealed: the acceptor of a resumed connection may speak before its
/// opener has proved anything, to whoever copied a SYN and cannot read it, under keys that are for that attempt alone.
final class SecretWatch: ForwardingProvider {
    private struct Origin {
        let parent: [UInt8]
        let constant: UInt8
    }

    private struct State {
        /// Where keys came from, by their bytes; traffic keys by their first ``keyLength``.
        var origins: [[UInt8]: Origin] = [:]
        /// The secrets of join chains.
        var joins: Set<[UInt8]> = []
        /// The master key under which data crossed, by the secret it was derived from.
        var uses: [[UInt8]: [UInt8]] = [:]
        var violations: [String] = []
    }

    let base: any CryptoProvider
    private let state = Mutex(State())
    /// Of AES-128-GCM, the only algorithm in these runs.
    private static let keyLength = 16
    /// RFC 8548 section 4.3, and of the join chains.
    private static let next: UInt8 = 1
    private static let rekey: UInt8 = 3
    private static let keys: ClosedRange<UInt8> = 4...5
    private static let join: UInt8 = 0x10

    init(_ base: any CryptoProvider) { self.base = base }

    var violations: [String] { state.withLock { $0.violations } }
    /// Secrets that have protected data.
    var count: Int { state.withLock { $0.uses.count } }

    func expand(_ key: Secret, info: Span<UInt8>, count: Int) -> Secret {
        let derived = base.expand(key, info: info, count: count)
        switch info[0] {
        case Self.join: state.withLock { _ = $0.joins.insert(derived.copy) }
        case Self.next:
            state.withLock { state in if state.joins.contains(key.copy) { state.joins.insert(derived.copy) } }
        case Self.rekey:
            state.withLock { $0.origins[derived.copy] = Origin(parent: key.copy, constant: Self.rekey) }
        case let constant where Self.keys.contains(constant):
            let name = Array(derived.copy.prefix(Self.keyLength))
            state.withLock { $0.origins[name] = Origin(parent: key.copy, constant: constant) }
        default: break
        }
        return derived
    }

    func aead(_ algorithm: AEADAlgorithm, key: Secret) -> any AEADKey {
        let bytes = key.copy
        return WatchedKey(base.aead(algorithm, key: key)) { [self] _, _, _, plaintext in
            if !plaintext.isEmpty { noteData(under: bytes, isSealed: true) }
        } onOpen: { [self] plaintextCount in
            if plaintextCount > 0 { noteData(under: bytes, isSealed: false) }
        }
    }

    private func noteData(under key: [UInt8], isSealed: Bool) {
        state.withLock { state in
            guard var master = state.origins[key]?.parent, var origin = state.origins[master] else { return }
            // Later generations of one connection lead back to its first master key.
            while let earlier = state.origins[origin.parent], earlier.constant == Self.rekey {
                (master, origin) = (origin.parent, earlier)
            }
            guard !isSealed || state.joins.contains(origin.parent) else { return }
            if let used = state.uses[origin.parent] {
                if used != master { state.violations.append("a session secret protects two connections") }
            } else {
                state.uses[origin.parent] = master
            }
        }
    }
}
