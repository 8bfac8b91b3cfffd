import DequeModule
import PacketWire

/// Between which addresses SYNs with the ENO option get lost, while those without are answered: something on the way dislikes
/// it. There new connections are plain at once, for a while, instead of waiting for their SYNs to be repeated (RFC 8547 section 4.6
/// lets an opener leave the option out).
///
/// Once proves nothing: SYNs get lost for other reasons.
struct UnansweredOffers {
    private struct Entry {
        var count: Int
        var latest: Instant
    }

    private var entries: [PathMTUs.Path: Entry] = [:]
    /// The order in which they came, for the oldest makes way.
    private var order: Deque<PathMTUs.Path> = []

    static let limit = 4096
    static let lifetime: Int64 = 600_000
    /// In a row.
    static let proof = 2

    var count: Int { entries.count }

    /// A connection was answered only after its offer had been withdrawn.
    mutating func note(_ path: PathMTUs.Path, _ now: Instant) {
        let before = entries[path].map { now.milliseconds(since: $0.latest) < Self.lifetime ? $0.count : 0 }
        let entry = Entry(count: min(Self.proof, (before ?? 0) + 1), latest: now)
        if entries.updateValue(entry, forKey: path) == nil { order.append(path) }
        while order.count > Self.limit, let oldest = order.popFirst() { entries[oldest] = nil }
    }

    /// A SYN with the option was answered.
    mutating func clear(_ path: PathMTUs.Path) {
        // Its place in the order stays, and with a later entry makes way a little early.
        entries[path] = nil
    }

    /// Whether an offer would be in vain.
    func contains(_ path: PathMTUs.Path, _ now: Instant) -> Bool {
        guard let entry = entries[path], entry.count >= Self.proof else { return false }
        return now.milliseconds(since: entry.latest) < Self.lifetime
    }
}
