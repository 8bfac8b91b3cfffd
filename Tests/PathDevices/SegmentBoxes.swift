import PacketWire

/// Cuts data into segments of at most so many bytes; the options go with every piece.
final class Splitter: ChainDevice {
    private var size: Int

    init(_ size: Int, counter: Counter) {
        self.size = size
        super.init(counter: counter)
    }

    override func transmit(_ packet: WirePacket, on network: EventQueue) {
        guard let parsed = packet.intact, parsed.payload.count > size, !parsed.flags.contains(.syn) else {
            return next.transmit(packet, on: network)
        }
        counter.add()
        let places = Array(stride(from: size, to: parsed.payload.count, by: size))
        for piece in Segmentation.cut(packet, parsed, at: places) { next.transmit(piece, on: network) }
    }

    override func update(_ specification: DeviceSpecification) {
        if case .split(let size) = specification { self.size = size }
    }
}

/// Joins adjacent segments of a connection that come shortly after another, as long as the packet stays short enough.
final class Joiner: ChainDevice {
    private static let patience: Int64 = 500_000
    private var limit: Int
    private var waiting: WirePacket?
    private var deadline: Int64 = 0

    init(limit: Int, counter: Counter) {
        self.limit = limit
        super.init(counter: counter)
    }

    override func transmit(_ packet: WirePacket, on network: EventQueue) {
        if let first = waiting {
            if let joined = joined(first, packet) {
                counter.add()
                waiting = joined
                return
            }
            release(network)
        }
        guard let parsed = packet.intact, !parsed.payload.isEmpty,
            parsed.flags.isDisjoint(with: [.syn, .fin, .rst, .urg])
        else { return next.transmit(packet, on: network) }
        waiting = packet
        deadline = network.time &+ Self.patience
        network.schedule(after: Self.patience, wake: self)
    }

    override func wake(on network: EventQueue) {
        if network.time >= deadline { release(network) }
    }

    private func release(_ network: EventQueue) {
        guard let packet = waiting else { return }
        waiting = nil
        next.transmit(packet, on: network)
    }

    private func joined(_ first: WirePacket, _ second: WirePacket) -> WirePacket? {
        guard let a = first.parsed, let b = second.parsed, a.source == b.source, a.destination == b.destination,
            a.sequence + a.payload.count == b.sequence, !b.payload.isEmpty,
            b.flags.isDisjoint(with: [.syn, .fin, .rst, .urg]), a.payload.upperBound + b.payload.count <= limit
        else { return nil }
        // What a mapping says of data in place, or a signature, holds for one segment only: those differ.
        guard Self.fixedOptions(a, first) == Self.fixedOptions(b, second) else { return nil }
        var header = TCPHeader(b)
        header.sequence = a.sequence
        header.flags.formUnion(a.flags)
        var joined = second
        joined.bytes = PacketBuilder.rewrite(
            b, of: second.bytes, header, options: TCPOptions(b, of: second.bytes.span),
            payload: (first.bytes[a.payload] + second.bytes[b.payload])[...])
        joined.isForged = first.isForged || second.isForged
        return joined
    }

    /// All options but timestamps and SACK blocks, of which the later ones stand.
    private static func fixedOptions(_ parsed: TCPPacket, _ packet: WirePacket) -> [UInt8] {
        var options = TCPOptions(parsed, of: packet.bytes.span)
        options.remove(TCPOptionKind.timestamps)
        options.remove(TCPOptionKind.sack)
        return (0..<options.count).map { options.span[$0] }
    }

    override func update(_ specification: DeviceSpecification) {
        if case .coalesce(let limit) = specification { self.limit = limit }
    }
}

/// A firewall that gives every connection other initial sequence numbers: those of one direction, their
/// acknowledgements and SACK blocks and what ICMP errors quote coming back.
final class Renumberer: ChainDevice {
    private struct Flow {
        var initial: SequenceNumber
        var offset: Int
    }

    private var random: SeededRandom
    private var flows = FlowTable<Flow>()
    private var back: ChainDevice?

    init(random: SeededRandom, counter: Counter) {
        self.random = random
        super.init(counter: counter)
        back = Relay(counter: counter) { [weak self] packet, network, relay in
            // Packets may be on their way to a box that was taken away.
            relay.next.transmit(self?.restored(packet) ?? packet, on: network)
        }
    }

    override var partner: ChainDevice? { back }

    override func transmit(_ packet: WirePacket, on network: EventQueue) {
        guard let parsed = packet.intact else { return next.transmit(packet, on: network) }
        let key = FlowKey(parsed)
        if parsed.flags.contains(.syn), flows[key]?.initial != parsed.sequence {
            flows[key] = Flow(initial: parsed.sequence, offset: random.int(1 << 20...1 << 31))
        }
        guard let flow = flows[key] else { return next.transmit(packet, on: network) }
        counter.add()
        var header = TCPHeader(parsed)
        header.sequence = header.sequence + flow.offset
        next.transmit(packet.rewritten(parsed, header), on: network)
    }

    private func restored(_ packet: WirePacket) -> WirePacket {
        guard let parsed = packet.intact else {
            return packet.editingQuote { source, destination, sequence in
                guard let flow = flows[FlowKey(source: source, destination: destination)] else { return nil }
                return sequence + -flow.offset
            }
        }
        guard let flow = flows[FlowKey(parsed).reversed], parsed.flags.contains(.ack) else { return packet }
        counter.add()
        var header = TCPHeader(parsed)
        header.acknowledgment = header.acknowledgment + -flow.offset
        var options = TCPOptions(parsed, of: packet.bytes.span)
        options.shiftSACK(by: -flow.offset)
        return packet.rewritten(parsed, header, options: options)
    }
}

extension TCPOptions {
    /// Moves every SACK block.
    fileprivate mutating func shiftSACK(by offset: Int) {
        for range in ranges(of: TCPOptionKind.sack) {
            for index in stride(from: range.lowerBound + 2, through: range.upperBound - 4, by: 4) {
                let value = (SequenceNumber(span.loadUInt32(at: index)) + offset).rawValue
                for byte in 0..<4 { set(UInt8(truncatingIfNeeded: value >> (24 - 8 * UInt32(byte))), at: index + byte) }
            }
        }
    }
}
