import Tables

/// Connections of which both ends have everything, in the order in which they came to their end.
///
/// They stay for the time of TIME-WAIT to answer repetitions, but a host that serves many short connections would fill its table with
/// them: where there are too many the oldest goes, and what still comes of it is refused.
struct FinishedFlows {
    /// By the serial numbers of the flows.
    private var order = AgeList<UInt64, FlowID>()
    private let limit: Int

    init(limit: Int) { self.limit = max(1, limit) }

    /// The oldest.
    var first: FlowID? { order.first }

    /// - Returns: one that has to go for it.
    mutating func append(_ id: FlowID) -> FlowID? {
        order.append(id, key: id.serial)
        return order.count > limit ? order.first : nil
    }

    mutating func leave(_ id: FlowID) { order.remove(id.serial) }
}
