public import PacketWire

/// Makes and alters whole packets.
public enum PacketBuilder {
    public static func packet(
        from source: Endpoint, to destination: Endpoint, _ header: TCPHeader, options: TCPOptions = TCPOptions(),
        payload: [UInt8] = [], checksum: ChecksumMode = .full
    ) -> [UInt8] {
        let template = HeaderTemplate.bytes(from: source, to: destination)
        guard let packet = try? TCPPacket(parsing: template.span) else { return [] }
        return rewrite(
            packet, of: template, header, options: options, payload: payload[...], checksum: checksum)
    }

    /// The packet anew with other TCP fields, options and data, its addresses kept.
    public static func rewrite(
        _ packet: TCPPacket, of template: [UInt8], _ header: TCPHeader, options: TCPOptions,
        payload: ArraySlice<UInt8>, checksum: ChecksumMode = .full
    ) -> [UInt8] {
        let length = packet.length(options: options, payloadCount: payload.count)
        var bytes = [UInt8](repeating: 0, count: length)
        var span = bytes.mutableSpan
        span.copy(payload.span, at: length - payload.count)
        packet.write(header, options: options, template: template.span, checksum: checksum, into: &span)
        return bytes
    }

    /// Finishes the TCP checksum of a packet that may lack it.
    public static func finished(_ packet: WirePacket) -> WirePacket {
        var copy = packet
        copy.hasPartialChecksum = false
        guard packet.hasPartialChecksum, let parsed = packet.parsed else { return copy }
        copy.bytes = withChecksum(packet.bytes, parsed)
        return copy
    }

    /// The same bytes with a valid TCP checksum.
    public static func withChecksum(_ bytes: [UInt8], _ packet: TCPPacket) -> [UInt8] {
        var fixed = bytes
        var span = fixed.mutableSpan
        span.store(UInt16(0), at: packet.tcpOffset + 16)
        span.store(tcpSum(span.span, packet).value, at: packet.tcpOffset + 16)
        return fixed
    }

    /// Whether IP and TCP checksums are right.
    public static func hasValidChecksums(_ bytes: [UInt8], _ packet: TCPPacket) -> Bool {
        if !packet.isIPv6 {
            var sum = Checksum()
            sum.add(bytes.span.extracting(0..<packet.tcpOffset))
            guard sum.value == 0 else { return false }
        }
        return tcpSum(bytes.span, packet).value == 0
    }

    private static func tcpSum(_ bytes: Span<UInt8>, _ packet: TCPPacket) -> Checksum {
        var sum = Checksum()
        sum.add(packet.source.address)
        sum.add(packet.destination.address)
        sum.add(word: 6)
        sum.add(word: UInt16(truncatingIfNeeded: packet.payload.upperBound - packet.tcpOffset))
        sum.add(bytes.extracting(packet.tcpOffset..<packet.payload.upperBound))
        return sum
    }
}

extension TCPOptions {
    public mutating func append(_ option: [UInt8]) { append(option.span) }
}

extension [UInt8] {
    /// Appends the value in network byte order.
    public mutating func append(bigEndian value: some FixedWidthInteger) {
        for shift in stride(from: value.bitWidth - 8, through: 0, by: -8) {
            append(UInt8(truncatingIfNeeded: value >> shift))
        }
    }
}
