import PacketWire

/// A router whose next link takes shorter packets only: it tells the sender (RFC 1191, RFC 8201), or says nothing.
final class MTULimit: ChainDevice {
    private var mtu: Int
    private var isSilent: Bool
    private var back: ChainDevice?

    init(_ mtu: Int, isSilent: Bool, counter: Counter) {
        self.mtu = mtu
        self.isSilent = isSilent
        super.init(counter: counter)
        back = Relay(counter: counter) { packet, network, relay in relay.next.transmit(packet, on: network) }
    }

    override var partner: ChainDevice? { back }

    override func transmit(_ packet: WirePacket, on network: EventQueue) {
        guard packet.bytes.count > mtu else { return next.transmit(packet, on: network) }
        counter.add()
        network.trace.note(network.time, "too long: \(Trace.describe(packet))")
        if let pieces = Fragmentation.pieces(packet, mtu: mtu) {
            for piece in pieces { next.transmit(piece, on: network) }
        } else if !isSilent, let addresses = IPAddress.pair(in: packet.bytes.span) {
            // It has no address of its own and answers in the name of the destination.
            let error = ICMPBuilder.tooBig(packet.bytes, mtu: mtu, from: addresses.destination)
            back?.next.transmit(packet.answer(error), on: network)
        }
    }

    override func update(_ specification: DeviceSpecification) {
        if case .mtu(let mtu, let isSilent) = specification { (self.mtu, self.isSilent) = (mtu, isSilent) }
    }
}

/// What a router does to an IPv4 packet that allows it (RFC 791).
enum Fragmentation {
    /// Nil where the packet must not be cut.
    static func pieces(_ packet: WirePacket, mtu: Int) -> [WirePacket]? {
        let bytes = packet.bytes
        guard bytes.count >= 20, bytes[0] >> 4 == 4, bytes[6] & 0x40 == 0 else { return nil }
        let header = Int(bytes[0] & 0xf) * 4
        let room = (mtu - header) & ~7
        guard header >= 20, header < bytes.count, room >= 8 else { return nil }
        let before = Int(bytes.span.loadUInt16(at: 6))
        return stride(from: header, to: bytes.count, by: room).map { start in
            let end = min(bytes.count, start + room)
            let isLast = end == bytes.count && before & 0x2000 == 0
            var piece = packet
            piece.bytes = Array(bytes[0..<header] + bytes[start..<end])
            var span = piece.bytes.mutableSpan
            span.store(UInt16(truncatingIfNeeded: header + end - start), at: 2)
            let offset = (before & 0x1fff) + (start - header) / 8
            span.store(UInt16(truncatingIfNeeded: offset | (isLast ? 0 : 0x2000)), at: 6)
            span.store(UInt16(0), at: 10)
            var sum = Checksum()
            sum.add(span.span.extracting(0..<header))
            span.store(sum.value, at: 10)
            return piece
        }
    }
}

extension WirePacket {
    /// Where an ICMP error quotes a TCP segment, its sequence number can be changed; anything else stays as it is.
    func editingQuote(_ sequence: (Endpoint, Endpoint, SequenceNumber) -> SequenceNumber?) -> WirePacket {
        guard let error = ICMPError(parsing: bytes.span), error.hasValidChecksum(in: bytes.span),
            let new = sequence(error.source, error.destination, error.sequence)
        else { return self }
        var changed = self
        changed.bytes = [UInt8](repeating: 0, count: error.length)
        var span = changed.bytes.mutableSpan
        error.write(sequence: new, mtu: error.mtu, template: bytes.span, into: &span)
        return changed
    }
}
