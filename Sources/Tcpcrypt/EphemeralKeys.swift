/// Key pairs that serve several exchanges, one at a time for each TEP, and never for long: who gets hold of one can read all of them
/// (RFC 8548 section 8). Every exchange has a nonce of its own all the same.
public struct EphemeralKeys {
    private struct Entry {
        var pair: any EphemeralKeyPair
        var expiry: Int64
        var uses = 1
    }

    private var entries: [TEP: Entry] = [:]
    /// Made while nobody waited, and not used yet.
    private var spares: [TEP: any EphemeralKeyPair] = [:]
    /// When ``renew(now:_:_:)`` is due.
    public private(set) var expiry: Int64?

    /// Milliseconds.
    public static let lifetime: Int64 = 500
    public static let mostUses = 64

    public init() {}

    /// A pair for one exchange, and whether it had to be made.
    ///
    /// - Parameter now: milliseconds of a monotonic clock.
    public mutating func pair(
        _ tep: TEP, now: Int64, _ crypto: any CryptoProvider, _ random: any RandomSource
    ) -> (pair: any EphemeralKeyPair, isNew: Bool) {
        if var entry = entries[tep], entry.expiry > now, entry.uses < Self.mostUses {
            entry.uses += 1
            entries[tep] = entry
            return (entry.pair, false)
        }
        let pair = spares.removeValue(forKey: tep) ?? crypto.keyPair(tep, random)
        entries[tep] = Entry(pair: pair, expiry: now + Self.lifetime)
        expiry = min(expiry ?? .max, now + Self.lifetime)
        return (pair, true)
    }

    /// Forgets pairs whose time is over, and makes the next of their kind, which nobody then has to wait for.
    public mutating func renew(now: Int64, _ crypto: any CryptoProvider, _ random: any RandomSource) {
        guard let due = expiry, due <= now else { return }
        for (tep, entry) in entries where entry.expiry <= now {
            entries[tep] = nil
            if spares[tep] == nil { spares[tep] = crypto.keyPair(tep, random) }
        }
        expiry = entries.values.map(\.expiry).min()
    }
}
