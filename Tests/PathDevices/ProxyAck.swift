import PacketWire

/// A performance enhancing proxy (RFC 3135): it acknowledges the data of one direction to the sender at once, keeps
/// it, and sees to it itself that the receiver gets it.
final class ProxyAck: ChainDevice {
    private var streams = FlowTable<ProxyStream>()
    private var back: ChainDevice?

    override init(counter: Counter) {
        super.init(counter: counter)
        back = Relay(counter: counter) { [weak self] packet, network, relay in
            guard let self else { return relay.next.transmit(packet, on: network) }
            fromReceiver(packet, network, relay)
        }
    }

    override var partner: ChainDevice? { back }

    // MARK: From the sender

    override func transmit(_ packet: WirePacket, on network: EventQueue) {
        guard let parsed = packet.intact else { return next.transmit(packet, on: network) }
        let key = FlowKey(parsed)
        if parsed.flags.contains(.rst) {
            streams[key] = nil
            return next.transmit(packet, on: network)
        }
        if parsed.flags.contains(.syn) {
            noteSYN(packet, parsed)
            return next.transmit(packet, on: network)
        }
        guard let stream = streams[key], stream.isReady else { return next.transmit(packet, on: network) }
        stream.noteSender(packet, parsed)
        let start = stream.offset(of: parsed.sequence)
        guard !parsed.payload.isEmpty else {
            // A probe whether anybody is there: whoever acknowledges must answer.
            if start < stream.taken { acknowledge(stream, network) }
            return next.transmit(packet, on: network)
        }
        switch stream.take(packet, parsed, start) {
        case .stored:
            counter.add()
            acknowledge(stream, network)
            pump(stream, network)
        case .known:
            acknowledge(stream, network)
            // The end of the stream is not ours to acknowledge.
            if parsed.flags.contains(.fin) { next.transmit(packet, on: network) }
        case .full: break
        }
    }

    /// A SYN of either kind from the sender: where its stream begins.
    private func noteSYN(_ packet: WirePacket, _ parsed: TCPPacket) {
        let key = FlowKey(parsed)
        if let known = streams[key], known.origin?.initial == parsed.sequence { return }
        let stream = ProxyStream(self)
        // The receiver's SYN came first where the sender is the server.
        if parsed.flags.contains(.ack), let earlier = streams[key] { stream.copyReceiver(of: earlier) }
        stream.noteSenderSYN(packet, parsed)
        streams[key] = stream
    }

    private func acknowledge(_ stream: ProxyStream, _ network: EventQueue) {
        guard let packet = stream.acknowledgement() else { return }
        back?.next.transmit(packet, on: network)
    }

    /// Sends what the receiver has room for.
    private func pump(_ stream: ProxyStream, _ network: EventQueue) {
        while let packet = stream.nextNew(now: network.time) { next.transmit(packet, on: network) }
        arm(stream, network)
    }

    private func arm(_ stream: ProxyStream, _ network: EventQueue) {
        guard !stream.isArmed, let delay = stream.timeout(now: network.time) else { return }
        stream.isArmed = true
        network.schedule(after: delay, wake: stream)
    }

    /// A stream's timer.
    func handleTimer(_ stream: ProxyStream, _ network: EventQueue) {
        if let packet = stream.overdue(now: network.time) {
            network.trace.note(network.time, "proxy repeats \(Trace.describe(packet))")
            next.transmit(packet, on: network)
        }
        arm(stream, network)
    }

    // MARK: From the receiver

    private func fromReceiver(_ packet: WirePacket, _ network: EventQueue, _ relay: Relay) {
        guard let parsed = packet.intact else { return relay.next.transmit(packet, on: network) }
        let key = FlowKey(parsed).reversed
        if parsed.flags.contains(.rst) {
            streams[key] = nil
            return relay.next.transmit(packet, on: network)
        }
        if parsed.flags.contains(.syn) {
            if !parsed.flags.contains(.ack), streams[key]?.receiverInitial != parsed.sequence {
                streams[key] = ProxyStream(self)
            }
            streams[key]?.noteReceiverSYN(packet, parsed)
            return relay.next.transmit(packet, on: network)
        }
        guard let stream = streams[key], stream.isReady, parsed.flags.contains(.ack) else {
            return relay.next.transmit(packet, on: network)
        }
        for repeated in stream.noteReceiver(packet, parsed, now: network.time) {
            network.trace.note(network.time, "proxy repeats \(Trace.describe(repeated))")
            next.transmit(repeated, on: network)
        }
        pump(stream, network)
        if let shown = stream.shown(packet, parsed) { relay.next.transmit(shown, on: network) }
    }
}
