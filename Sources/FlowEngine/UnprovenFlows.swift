import DequeModule
import PacketWire

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

    private var order: Deque<Entry> = []
    private let limit: Int
    private(set) var count = 0

    /// How long an opener may take before its place may be given to another, in milliseconds.
    static let patience: Int64 = 3_000
    private static let spare = 1024

    init(limit: Int) { self.limit = max(1, limit) }

    var hasRoom: Bool { count < limit }
    /// How many are remembered, those included that are none any more.
    var entries: Int { order.count }

    mutating func append(_ id: FlowID, now: Instant, in flows: [FlowTuple: Flow]) {
        order.append(Entry(id: id, since: now))
        count += 1
        if order.count > 2 * count + Self.spare { order = order.filter { Self.isUnproven($0.id, in: flows) } }
    }

    private static func isUnproven(_ id: FlowID, in flows: [FlowTuple: Flow]) -> Bool {
        guard let flow = flows[id.tuple], flow.id == id else { return false }
        return flow.isUnproven
    }

    /// Notes that one of them is none any more.
    mutating func leave() { count -= 1 }

    /// The oldest that still is one, which stays counted; nil where there is none, or its opener has not had its time.
    mutating func popFirst(ofAge age: Int64, _ now: Instant, in flows: [FlowTuple: Flow]) -> FlowID? {
        while let first = order.first {
            guard Self.isUnproven(first.id, in: flows) else {
                order.removeFirst()
                continue
            }
            guard now.milliseconds(since: first.since) >= age else { return nil }
            order.removeFirst()
            return first.id
        }
        return nil
    }
}
