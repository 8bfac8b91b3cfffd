import PacketWire

/// A router whose next link takes shorter packets only: it tells the sender (RFC 1191, RFC 8201), or says nothing.
final class NarrowLink: ChainDevice {
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
        } else if !isSilent, let error = ICMPError.tooBig(packet, mtu: mtu) {
            back?.next.transmit(error, on: network)
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
            ICMPError.finishIPv4Header(&piece.bytes, header)
            return piece
        }
    }
}

/// Messages of a router about a packet it could not pass on.
enum ICMPError {
    /// Fragmentation needed (RFC 1191) or packet too big (RFC 4443). The router has no address of its own and answers
    /// in the name of the destination.
    static func tooBig(_ packet: WirePacket, mtu: Int) -> WirePacket? {
        guard let addresses = IPAddress.pair(in: packet.bytes.span) else { return nil }
        let isIPv6 = addresses.source.isIPv6
        // As much as the smallest link takes of IPv6, 548 bytes of data as RFC 1812 has it for IPv4.
        let quote = Array(packet.bytes.prefix(isIPv6 ? 1232 : 548))
        var message: [UInt8] = isIPv6 ? [2, 0, 0, 0] : [3, 4, 0, 0]
        message.append(bigEndian: UInt32(truncatingIfNeeded: isIPv6 ? mtu : mtu & 0xffff))
        message += quote
        var sum = Checksum()
        if isIPv6 {
            sum.add(addresses.source)
            sum.add(addresses.destination)
            sum.add(word: 58)
            sum.add(word: UInt16(truncatingIfNeeded: message.count))
        }
        sum.add(message.span)
        var body = message.mutableSpan
        body.store(sum.value, at: 2)
        return packet.answer(header(from: addresses.destination, to: addresses.source, message.count) + message)
    }

    private static func header(from source: IPAddress, to destination: IPAddress, _ count: Int) -> [UInt8] {
        var bytes: [UInt8]
        if source.isIPv6 {
            bytes = [0x60, 0, 0, 0]
            bytes.append(bigEndian: UInt16(truncatingIfNeeded: count))
            return bytes + [58, 64] + source.bytes + destination.bytes
        }
        bytes = [0x45, 0]
        bytes.append(bigEndian: UInt16(truncatingIfNeeded: 20 + count))
        bytes += [0, 0, 0, 0, 64, 1, 0, 0] + source.bytes + destination.bytes
        finishIPv4Header(&bytes, 20)
        return bytes
    }

    static func finishIPv4Header(_ bytes: inout [UInt8], _ header: Int) {
        var span = bytes.mutableSpan
        span.store(UInt16(0), at: 10)
        var sum = Checksum()
        sum.add(span.span.extracting(0..<header))
        span.store(sum.value, at: 10)
    }
}

extension WirePacket {
    /// Where an ICMP error quotes a TCP segment, its sequence number can be changed; anything else stays as it is.
    func editingQuote(_ sequence: (Endpoint, Endpoint, SequenceNumber) -> SequenceNumber?) -> WirePacket {
        guard let place = quotedTCP, let addresses = IPAddress.pair(in: bytes.span.extracting(place.ip..<bytes.count))
        else { return self }
        let source = Endpoint(address: addresses.source, port: bytes.span.loadUInt16(at: place.tcp))
        let destination = Endpoint(address: addresses.destination, port: bytes.span.loadUInt16(at: place.tcp + 2))
        let old = SequenceNumber(bytes.span.loadUInt32(at: place.tcp + 4))
        guard let new = sequence(source, destination, old) else { return self }
        var changed = self
        var span = changed.bytes.mutableSpan
        span.store(new.rawValue, at: place.tcp + 4)
        // RFC 1624: the sum without the old words and with the new ones.
        var sum = Checksum()
        sum.add(word: ~span.span.loadUInt16(at: place.icmp + 2))
        for shift in [UInt32(16), 0] {
            sum.add(word: ~UInt16(truncatingIfNeeded: old.rawValue >> shift))
            sum.add(word: UInt16(truncatingIfNeeded: new.rawValue >> shift))
        }
        span.store(sum.value, at: place.icmp + 2)
        return changed
    }

    /// Where ICMP, the quoted IP header and the quoted TCP header begin.
    private var quotedTCP: (icmp: Int, ip: Int, tcp: Int)? {
        guard let first = bytes.first else { return nil }
        let isIPv6 = first >> 4 == 6
        let icmp = isIPv6 ? 40 : Int(first & 0xf) * 4
        let quote = icmp + 8
        guard icmp >= 20, bytes.count >= quote + (isIPv6 ? 48 : 28) else { return nil }
        if isIPv6 {
            guard bytes[6] == 58, bytes[icmp] < 128, bytes[quote] >> 4 == 6, bytes[quote + 6] == 6 else { return nil }
            return (icmp, quote, quote + 40)
        }
        guard bytes[9] == 1, [3, 11, 12].contains(bytes[icmp]), bytes[quote] >> 4 == 4, bytes[quote + 9] == 6 else {
            return nil
        }
        let tcp = quote + Int(bytes[quote] & 0xf) * 4
        guard tcp >= quote + 20, tcp + 8 <= bytes.count else { return nil }
        return (icmp, quote, tcp)
    }
}
