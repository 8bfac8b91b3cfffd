import DequeModule

/// Connections of which both ends have everything, in the order in which they came to their end.
///
/// They stay for the time of TIME-WAIT to answer repetitions, but a host that serves many short connections would fill its table with
/// them: where there are too many the oldest goes, and what still comes of it is refused.
struct FinishedFlows {
    private var order: Deque<FlowID> = []
    private let limit: Int

    init(limit: Int) { self.limit = max(1, limit) }

    /// - Returns: one that has to go for it.
    mutating func append(_ id: FlowID, in flows: [FlowTuple: Flow]) -> FlowID? {
        order.append(id)
        dropGone(flows)
        return order.count > limit ? order.popFirst() : nil
    }

    mutating func popFirst(in flows: [FlowTuple: Flow]) -> FlowID? {
        dropGone(flows)
        return order.popFirst()
    }

    /// Their time is the same for all, so that those that went by themselves are in front.
    private mutating func dropGone(_ flows: [FlowTuple: Flow]) {
        while let first = order.first, flows[first.tuple]?.id != first { order.removeFirst() }
    }
}
