import DequeModule
import PacketWire

/// What is remembered of a connection that stayed ordinary TCP, for the operator's eyes only.
struct PlainFlow {
    var tuple: FlowTuple
    var reason: FallbackReason?
    var tokens: (local: UInt32, remote: UInt32)?
    var since: Instant
    /// The sequence number of the SYN that opened it: its repetitions stay plain.
    var initial: SequenceNumber

    init(_ flow: Flow) {
        tuple = flow.tuple
        reason = flow.reason
        since = flow.lastActivity
        initial = flow.isOpener ? flow.outOrigin.initial : flow.inOrigin.initial
        if let local = flow.mptcp?.localToken, let remote = flow.mptcp?.remoteToken { tokens = (local, remote) }
    }
}

/// The most recent plain flows; the engine sees nothing of them any more, so they leave by age and by the socket list.
struct PlainFlows {
    private var flows: [FlowTuple: PlainFlow] = [:]
    private var order: Deque<FlowTuple> = []
    private static let limit = 4_096

    var values: Dictionary<FlowTuple, PlainFlow>.Values { flows.values }

    func contains(_ tuple: FlowTuple) -> Bool { flows[tuple] != nil }

    func contains(_ tuple: FlowTuple, initial: SequenceNumber) -> Bool { flows[tuple]?.initial == initial }

    mutating func insert(_ flow: PlainFlow) {
        if flows.updateValue(flow, forKey: flow.tuple) == nil { order.append(flow.tuple) }
        while order.count > Self.limit, let oldest = order.popFirst() { flows[oldest] = nil }
    }

    mutating func remove(_ tuple: FlowTuple) {
        guard flows.removeValue(forKey: tuple) != nil else { return }
        order.removeAll { $0 == tuple }
    }

    /// Forgets flows without a socket, but for a moment after they were seen.
    mutating func retain(_ sockets: Set<FlowTuple>, now: Instant) {
        order.removeAll { tuple in
            guard let flow = flows[tuple], !sockets.contains(tuple) else { return false }
            guard now.milliseconds(since: flow.since) > FlowTime.idleBeforeReconcile else { return false }
            flows[tuple] = nil
            return true
        }
    }
}
