import PacketWire
import Tcpcrypt

/// Flows that were encrypted when an earlier daemon died.
///
/// Their keys are gone, so neither end may go on. The local socket is destroyed; a connection of MPTCP, which would
/// wait for other subflows, gets an MP_FASTCLOSE instead, for which the kernel must first be made to tell what
/// sequence number it expects. The peer is reset whenever it sends, and is made to send.
struct CondemnedFlows {
    private var flows: [FlowTuple: State] = [:]

    struct State {
        var keys: MPTCPKeys?
        var tries = 0
        var due: Instant
        var since: Instant
    }

    private static let tries = 12
    private static let fastCloseTries = 4
    private static let milliseconds: Int64 = 1_000
    /// How long the peer's late packets are answered with resets.
    private static let remembered: Int64 = 600_000

    var isEmpty: Bool { flows.isEmpty }
    var nextDeadline: Instant? { flows.values.lazy.map(\.due).min() }

    func contains(_ tuple: FlowTuple) -> Bool { flows[tuple] != nil }

    mutating func add(_ condemned: [CondemnedFlow], now: Instant) {
        for flow in condemned { flows[flow.tuple] = State(keys: flow.keys, due: now, since: now) }
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
        for (tuple, state) in flows where state.due <= now {
            if now.milliseconds(since: state.since) > Self.remembered {
                flows[tuple] = nil
                output.actions.append(.journalRemove(tuple))
                continue
            }
            var next = state
            next.tries += 1
            let isPatient = next.tries > Self.tries
            next.due = now.adding(milliseconds: isPatient ? Self.remembered : Self.milliseconds)
            flows[tuple] = next
            if !isPatient { prod(tuple, next, host, &output) }
        }
    }

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
