import PacketWire

/// A firewall that answers SYNs itself, with nothing but an MSS, and opens a connection to the server only once the
/// client has proven that it exists. From then on it translates the server's sequence numbers.
final class SYNProxy: ChainDevice {
    private enum State { case answered, connecting, open }

    private struct Flow {
        var state = State.answered
        /// The client's initial number, which the server is shown too.
        var client: SequenceNumber
        /// The initial number the client was given in place of the server's.
        var cookie: SequenceNumber
        var server = SequenceNumber(0)
        var segmentSize: UInt16
        /// What the client sent before the server answered, its third ACK first.
        var held: [WirePacket] = []
        var attempts = 0

        var offset: Int { server.distance(from: cookie) }
    }

    /// Sends a SYN to the server once more.
    private final class Retry: NetworkDevice {
        weak var proxy: SYNProxy?

        func transmit(_ packet: WirePacket, on network: EventQueue) { proxy?.connect(packet, network) }
    }

    private static let heldAtMost = 64
    /// The MSS it announces at most: a guess, since the server has not been asked.
    private var size: Int
    private var random: SeededRandom
    private var flows = FlowTable<Flow>()
    private var back: ChainDevice?
    private let retry = Retry()

    init(size: Int, random: SeededRandom, counter: Counter) {
        self.size = size
        self.random = random
        super.init(counter: counter)
        retry.proxy = self
        back = Relay(counter: counter) { [weak self] packet, network, relay in
            guard let self else { return relay.next.transmit(packet, on: network) }
            fromServer(packet, network, relay)
        }
    }

    override var partner: ChainDevice? { back }

    override func update(_ specification: DeviceSpecification) {
        if case .synProxy(let size) = specification { self.size = size }
    }

    // MARK: From the client

    override func transmit(_ packet: WirePacket, on network: EventQueue) {
        guard let parsed = packet.intact else {
            // An error about a packet of the server's.
            let shown = packet.editingQuote { source, destination, sequence in
                guard let flow = flows[FlowKey(source: destination, destination: source)], flow.state == .open else {
                    return nil
                }
                return sequence + flow.offset
            }
            return next.transmit(shown, on: network)
        }
        let key = FlowKey(parsed)
        if parsed.flags.contains(.syn), !parsed.flags.contains(.ack) { return answer(packet, parsed, network) }
        guard let flow = flows[key] else { return next.transmit(packet, on: network) }
        if flow.state == .open { return next.transmit(translated(packet, parsed, flow), on: network) }
        guard !parsed.flags.contains(.rst) else {
            flows[key] = nil
            return
        }
        guard parsed.flags.contains(.ack), parsed.acknowledgment == flow.cookie + 1 else { return }
        hold(packet, parsed, network)
    }

    private func answer(_ packet: WirePacket, _ parsed: TCPPacket, _ network: EventQueue) {
        let key = FlowKey(parsed)
        let asked = TCPOptions(parsed, of: packet.bytes.span).maximumSegmentSize ?? 536
        if flows[key]?.client != parsed.sequence {
            let cookie = SequenceNumber(UInt32(truncatingIfNeeded: random.next()))
            flows[key] = Flow(client: parsed.sequence, cookie: cookie, segmentSize: asked)
            counter.add()
        }
        guard let flow = flows[key] else { return }
        let header = TCPHeader(
            sequence: flow.cookie, acknowledgment: parsed.sequence + 1, flags: [.syn, .ack], window: 65_535)
        let bytes = PacketBuilder.packet(
            from: parsed.destination, to: parsed.source, header,
            options: Self.options(min(asked, UInt16(clamping: size))))
        network.trace.note(network.time, "SYN answered by a proxy")
        back?.next.transmit(packet.answer(bytes), on: network)
    }

    private static func options(_ size: UInt16) -> TCPOptions {
        var options = TCPOptions()
        options.setMaximumSegmentSize(size)
        return options
    }

    private func hold(_ packet: WirePacket, _ parsed: TCPPacket, _ network: EventQueue) {
        let key = FlowKey(parsed)
        guard var flow = flows[key], flow.held.count < Self.heldAtMost else { return }
        let isFirst = flow.state == .answered
        flow.state = .connecting
        flow.held.append(packet)
        flows[key] = flow
        guard isFirst else { return }
        let header = TCPHeader(
            sequence: flow.client, acknowledgment: SequenceNumber(0), flags: [.syn], window: parsed.window)
        var syn = packet
        syn.bytes = PacketBuilder.packet(
            from: parsed.source, to: parsed.destination, header, options: Self.options(flow.segmentSize))
        connect(syn, network)
    }

    private func connect(_ syn: WirePacket, _ network: EventQueue) {
        guard let parsed = syn.parsed, var flow = flows[FlowKey(parsed)], flow.state == .connecting,
            flow.client == parsed.sequence, flow.attempts < 6
        else { return }
        flow.attempts += 1
        flows[FlowKey(parsed)] = flow
        next.transmit(syn, on: network)
        network.schedule(after: 1_000_000_000 << Int64(flow.attempts - 1), syn, to: retry)
    }

    private func translated(_ packet: WirePacket, _ parsed: TCPPacket, _ flow: Flow) -> WirePacket {
        guard parsed.flags.contains(.ack) else { return packet }
        var header = TCPHeader(parsed)
        header.acknowledgment = header.acknowledgment + flow.offset
        return packet.rewritten(parsed, header)
    }

    // MARK: From the server

    private func fromServer(_ packet: WirePacket, _ network: EventQueue, _ relay: Relay) {
        guard let parsed = packet.intact, let flow = flows[FlowKey(parsed).reversed], flow.state != .answered else {
            return relay.next.transmit(packet, on: network)
        }
        let key = FlowKey(parsed).reversed
        if parsed.flags.contains([.syn, .ack]) {
            guard parsed.acknowledgment == flow.client + 1 else { return }
            return serverAnswered(packet, parsed, network)
        }
        var header = TCPHeader(parsed)
        if flow.state == .connecting {
            // Refused: the client must learn it within its own numbers.
            guard parsed.flags.contains(.rst) else { return }
            flows[key] = nil
            header.sequence = flow.cookie + 1
            header.acknowledgment = flow.client + 1
            header.flags = [.rst, .ack]
        } else {
            header.sequence = header.sequence + -flow.offset
        }
        relay.next.transmit(packet.rewritten(parsed, header), on: network)
    }

    private func serverAnswered(_ packet: WirePacket, _ parsed: TCPPacket, _ network: EventQueue) {
        let key = FlowKey(parsed).reversed
        guard var flow = flows[key] else { return }
        guard flow.state == .connecting else {
            // Our ACK was lost.
            let header = TCPHeader(
                sequence: flow.client + 1, acknowledgment: flow.server + 1, flags: [.ack], window: 65_535)
            let bytes = PacketBuilder.packet(from: parsed.destination, to: parsed.source, header)
            return next.transmit(packet.answer(bytes), on: network)
        }
        flow.state = .open
        flow.server = parsed.sequence
        let held = flow.held
        flow.held = []
        flows[key] = flow
        for packet in held {
            guard let parsed = packet.intact else { continue }
            next.transmit(translated(packet, parsed, flow), on: network)
        }
    }
}
