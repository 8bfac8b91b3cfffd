import DequeModule
import PacketWire

/// What is remembered of a connection that stayed ordinary TCP, for the operator's eyes only.
struct PlainFlow {
    var tuple: FlowTuple
    var reason: FallbackReason?
    var tokens: (local: UInt32, remote: UInt32)?
    var since: Instant
    /// Its place among all that ever were.
    var number: UInt64 = 0
    /// The sequence number of the SYN that opened it: its repetitions stay plain.
    var initial: SequenceNumber
    /// Of the connection that its SYN asked to join.
    var joinToken: UInt32?

    init(_ flow: Flow) {
        tuple = flow.tuple
        reason = flow.reason
        since = flow.lastActivity
        initial = flow.isOpener ? flow.outOrigin.initial : flow.inOrigin.initial
        joinToken = flow.joinToken
        if let local = flow.mptcp?.localToken, let remote = flow.mptcp?.remoteToken { tokens = (local, remote) }
    }
}

/// The most recent plain flows; the engine sees nothing of them any more, so they leave by age and by the socket list.
struct PlainFlows {
    private var flows: [FlowTuple: PlainFlow] = [:]
    /// Oldest first; an entry whose flow is gone, or has come again since, is skipped.
    private var order: Deque<(tuple: FlowTuple, number: UInt64)> = []
    private var nextNumber: UInt64 = 0
    private static let limit = 4_096

    var values: Dictionary<FlowTuple, PlainFlow>.Values { flows.values }

    func contains(_ tuple: FlowTuple) -> Bool { flows[tuple] != nil }

    func contains(_ tuple: FlowTuple, initial: SequenceNumber) -> Bool { flows[tuple]?.initial == initial }

    func joinToken(of tuple: FlowTuple) -> UInt32? { flows[tuple]?.joinToken }

    mutating func insert(_ flow: PlainFlow) {
        var numbered = flow
        nextNumber += 1
        numbered.number = nextNumber
        flows[flow.tuple] = numbered
        order.append((flow.tuple, nextNumber))
        while flows.count > Self.limit, let oldest = order.popFirst() {
            if isCurrent(oldest) { flows[oldest.tuple] = nil }
        }
        if order.count > 2 * Self.limit { order = order.filter(isCurrent) }
    }

    private func isCurrent(_ entry: (tuple: FlowTuple, number: UInt64)) -> Bool {
        flows[entry.tuple]?.number == entry.number
    }

    mutating func remove(_ tuple: FlowTuple) { flows[tuple] = nil }

    /// Entries, outdated ones included.
    var entries: Int { order.count }

    /// Forgets flows without a socket, but for a moment after they were seen.
    mutating func retain(_ sockets: Set<FlowTuple>, now: Instant) {
        flows = flows.filter { tuple, flow in
            sockets.contains(tuple) || now.milliseconds(since: flow.since) <= FlowTime.idleBeforeReconcile
        }
        order = order.filter(isCurrent)
    }
}
