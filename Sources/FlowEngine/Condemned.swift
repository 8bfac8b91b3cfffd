import HeapModule
import PacketWire
import Tables
import Tcpcrypt

/// Flows that were encrypted when an earlier daemon died.
///
/// Their keys are gone, so neither end may go on. The local socket is destroyed; a connection of MPTCP, which would
/// wait for other subflows, gets an MP_FASTCLOSE instead, for which the kernel must first be made to tell what
/// sequence number it expects. The peer is reset whenever it sends, and is made to send.
struct CondemnedFlows {
    private var flows = SteadyTable<FlowTuple, State>()
    /// When something is to be done; outdated entries are skipped.
    private var deadlines = Heap<Due>()

    struct State {
        var keys: MPTCPKeys?
        var tries = 0
        var due: Instant?
        var since: Instant
    }

    private struct Due: Comparable {
        var at: Instant
        var tuple: FlowTuple

        static func < (a: Due, b: Due) -> Bool { a.at < b.at }
    }

    private static let tries = 12
    private static let fastCloseTries = 4
    private static let milliseconds: Int64 = 1_000
    /// How long the peer's late packets are answered with resets, socket or not.
    private static let remembered: Int64 = 600_000
    /// How many are prodded in a millisecond: an earlier daemon may have had many, and one that speaks is ended at once.
    private static let atOnce = 5

    var isEmpty: Bool { flows.isEmpty }
    var nextDeadline: Instant? { deadlines.min?.at }

    func contains(_ tuple: FlowTuple) -> Bool { flows[tuple] != nil }

    mutating func add(_ condemned: [CondemnedFlow], now: Instant) {
        for (index, flow) in condemned.enumerated() {
            let due = now.adding(milliseconds: Int64(index / Self.atOnce))
            flows[flow.tuple] = State(keys: flow.keys, due: due, since: now)
            deadlines.insert(Due(at: due, tuple: flow.tuple))
        }
    }

    /// The tuple names a new connection.
    mutating func remove(_ tuple: FlowTuple) { flows[tuple] = nil }

    // MARK: Packets

    /// A packet of the local kernel shows what it expects: that is where its end is put.
    func outbound(_ packet: TCPPacket, _ tuple: FlowTuple, _ host: Host, _ output: inout Output) {
        guard let state = flows[tuple], !packet.flags.contains(.rst) else { return }
        if let keys = state.keys, packet.flags.contains(.ack) {
            host.injectFastClose(
                to: tuple, sequence: packet.acknowledgment, acknowledgment: packet.sequence, key: keys.local, &output)
        } else {
            output.actions.append(.destroySocket(tuple))
        }
    }

    func inbound(
        _ packet: TCPPacket, _ metadata: PacketMetadata, _ tuple: FlowTuple, _ host: Host, _ output: inout Output
    ) {
        host.injectReset(answering: packet, metadata, keys: flows[tuple]?.keys, &output)
    }

    // MARK: Time

    mutating func handleDeadlines(_ now: Instant, _ host: Host, _ output: inout Output) {
        while let first = deadlines.min, first.at <= now {
            deadlines.removeMin()
            guard var state = flows[first.tuple], state.due == first.at else { continue }
            state.tries += 1
            let pause = max(Self.milliseconds, Int64(flows.count / Self.atOnce))
            state.due = state.tries < Self.tries ? now.adding(milliseconds: pause) : nil
            flows[first.tuple] = state
            if let due = state.due { deadlines.insert(Due(at: due, tuple: first.tuple)) }
            prod(first.tuple, state, host, &output)
        }
    }

    /// Forgets flows, long after, that have no socket any more, given every TCP socket of the namespace. One that could
    /// not be destroyed stays refused: left alone, its kernel would go on in clear.
    ///
    /// - Parameter place: where to go on, moved behind `count` of them.
    mutating func retain(
        _ sockets: Set<FlowTuple>, _ now: Instant, from place: inout Int, count: Int, _ output: inout Output
    ) {
        for (tuple, state) in flows.entries(from: &place, count: count) where !sockets.contains(tuple) {
            guard now.milliseconds(since: state.since) > Self.remembered else { continue }
            output.actions.append(.journalRemove(tuple))
            flows[tuple] = nil
        }
    }

    func isEnd(_ place: Int) -> Bool { flows.isEnd(place) }

    private func prod(_ tuple: FlowTuple, _ state: State, _ host: Host, _ output: inout Output) {
        if state.keys != nil, state.tries <= Self.fastCloseTries {
            probe(from: tuple.remote, to: tuple.local, host, &output).map { output.actions.append(.injectLocal($0)) }
        } else {
            output.actions.append(.destroySocket(tuple))
        }
        probe(from: tuple.local, to: tuple.remote, host, &output).map {
            output.actions.append(.inject($0, Egress()))
        }
    }

    /// An acknowledgement that cannot be right: the answer says what would be.
    private func probe(from source: Endpoint, to destination: Endpoint, _ host: Host, _ output: inout Output)
        -> Range<Int>?
    {
        let fields = TCPHeader(
            sequence: SequenceNumber(host.random.bytes(4).span.loadUInt32(at: 0)), acknowledgment: SequenceNumber(0),
            flags: [.ack], window: 0)
        return host.make(fields, from: source, to: destination, options: TCPOptions(), &output)
    }
}
