import Tables

/// Acceptors of whose opener nothing has come but a SYN, or nothing that took keys, in the order of their SYNs.
///
/// Anybody can make them, most of them from made-up addresses. Where there are too many, the oldest makes way if its opener
/// has had time to show that it means it; else the newcomer is ordinary TCP, as it is where a kernel under such a flood answers
/// with SYN cookies.
struct UnprovenFlows {
    private struct Entry {
        var id: FlowID
        var since: Instant
    }

    /// By the serial numbers of the flows.
    private var order = AgeList<UInt64, Entry>()
    private let limit: Int

    /// How long an opener may take before its place may be given to another, in milliseconds.
    static let patience: Int64 = 3_000

    init(limit: Int) { self.limit = max(1, limit) }

    var hasRoom: Bool { order.count < limit }

    mutating func append(_ id: FlowID, now: Instant) { order.append(Entry(id: id, since: now), key: id.serial) }

    /// Notes that one of them is none any more.
    mutating func leave(_ id: FlowID) { order.remove(id.serial) }

    /// The oldest; nil where there is none, or its opener has not had its time.
    func first(ofAge age: Int64, _ now: Instant) -> FlowID? {
        guard let first = order.first, now.milliseconds(since: first.since) >= age else { return nil }
        return first.id
    }
}
