/// An ICMP (RFC 792) or ICMPv6 (RFC 4443) error about a TCP packet that this host sent, checked against its bytes.
///
///     | IP header | type code checksum | MTU, length | IP header of the quoted packet | its TCP header, 8 bytes or more |
///
/// Like ``TCPPacket`` a value, not a view.
public struct ICMPError: Sendable {
    /// The ends of the quoted packet: its source is the local one.
    public let source: Endpoint
    public let destination: Endpoint
    /// The sequence number of the quoted packet.
    public let sequence: SequenceNumber
    /// The MTU of the link that the quoted packet was too long for, 0 from a router that does not tell (RFC 1191 section 4);
    /// nil in any other error.
    public let mtu: Int?
    /// The whole IP packet.
    public let length: Int

    private let outer: (source: IPAddress, destination: IPAddress)
    private let icmpOffset: Int
    private let sequenceOffset: Int

    public var isIPv6: Bool { source.address.isIPv6 }

    /// Destination unreachable, time exceeded, parameter problem; and, in ICMPv6 alone, packet too big.
    private static let ipv4Types: [UInt8] = [3, 11, 12]
    private static let ipv6Types: [UInt8] = [1, 2, 3, 4]

    /// Nil for whatever is no error of these kinds, or quotes no TCP, or too little of it.
    public init?(parsing bytes: Span<UInt8>) {
        guard let pair = IPAddress.pair(in: bytes), let header = IPLayout(bytes, from: 0, isQuoted: false) else {
            return nil
        }
        let isIPv6 = pair.source.isIPv6
        let icmp = header.payload
        guard header.transport == (isIPv6 ? 58 : 1), header.end >= icmp + 8 else { return nil }
        let type = bytes[icmp]
        guard (isIPv6 ? Self.ipv6Types : Self.ipv4Types).contains(type) else { return nil }
        let quote = bytes.extracting(icmp + 8..<header.end)
        guard let quoted = IPAddress.pair(in: quote), quoted.source.isIPv6 == isIPv6,
            let inner = IPLayout(bytes.extracting(0..<header.end), from: icmp + 8, isQuoted: true),
            inner.transport == 6, header.end >= inner.payload + 8
        else { return nil }
        source = Endpoint(address: quoted.source, port: bytes.loadUInt16(at: inner.payload))
        destination = Endpoint(address: quoted.destination, port: bytes.loadUInt16(at: inner.payload + 2))
        sequence = SequenceNumber(bytes.loadUInt32(at: inner.payload + 4))
        switch (isIPv6, type, bytes[icmp + 1]) {
        case (true, 2, _): mtu = Int(bytes.loadUInt32(at: icmp + 4))
        case (false, 3, 4): mtu = Int(bytes.loadUInt16(at: icmp + 6))
        default: mtu = nil
        }
        length = header.end
        outer = pair
        icmpOffset = icmp
        sequenceOffset = inner.payload + 4
    }

    /// Whether the checksum over `bytes`, which this error was parsed from, is right.
    public func hasValidChecksum(in bytes: Span<UInt8>) -> Bool {
        checksum(of: bytes.extracting(icmpOffset..<length)).value == 0
    }

    /// Writes the error anew with another sequence number in the quoted packet and, where it has one, another MTU.
    ///
    /// - Parameters:
    ///   - template: the bytes this error was parsed from.
    ///   - output: exactly ``length`` bytes.
    public func write(
        sequence: SequenceNumber, mtu: Int?, template: Span<UInt8>, into output: inout MutableSpan<UInt8>
    ) {
        output.copy(template.extracting(0..<length), at: 0)
        output.store(sequence.rawValue, at: sequenceOffset)
        if let mtu, self.mtu != nil {
            if isIPv6 {
                output.store(UInt32(clamping: mtu), at: icmpOffset + 4)
            } else {
                output.store(UInt16(clamping: mtu), at: icmpOffset + 6)
            }
        }
        output.store(UInt16(0), at: icmpOffset + 2)
        let sum = checksum(of: output.span.extracting(icmpOffset..<length))
        output.store(sum.value, at: icmpOffset + 2)
    }

    /// That of ICMPv6 covers the addresses as well (RFC 4443 section 2.3).
    private func checksum(of message: Span<UInt8>) -> Checksum {
        var sum = Checksum()
        if isIPv6 {
            sum.add(outer.source)
            sum.add(outer.destination)
            sum.add(word: UInt16(truncatingIfNeeded: message.count))
            sum.add(word: 58)
        }
        sum.add(message)
        return sum
    }
}

extension Span<UInt8> {
    /// Whether this is an IP packet that carries ICMP or ICMPv6.
    public var isICMP: Bool {
        guard IPAddress.pair(in: self) != nil, let layout = IPLayout(self, from: 0, isQuoted: false) else {
            return false
        }
        return layout.transport == (self[0] >> 4 == 4 ? 1 : 58)
    }
}

/// Where what an IP packet carries begins and ends, whatever that is.
private struct IPLayout {
    /// Behind the header, IPv4 options and IPv6 extension headers.
    var payload: Int
    var end: Int
    /// The protocol number.
    var transport: UInt8

    /// Nil where the header is cut short or contradicts itself, and for a fragment that is not the first.
    ///
    /// - Parameter isQuoted: the packet may end earlier than its header says.
    init?(_ bytes: Span<UInt8>, from start: Int, isQuoted: Bool) {
        if bytes[start] >> 4 == 4 {
            payload = start + Int(bytes[start] & 0xf) * 4
            end = start + Int(bytes.loadUInt16(at: start + 2))
            transport = bytes[start + 9]
            guard payload >= start + 20, bytes.loadUInt16(at: start + 6) & 0x1fff == 0 else { return nil }
        } else {
            payload = start + 40
            end = payload + Int(bytes.loadUInt16(at: start + 4))
            transport = bytes[start + 6]
        }
        if isQuoted { end = bytes.count }
        guard payload <= end, end <= bytes.count else { return nil }
        guard bytes[start] >> 4 == 6 else { return }
        // Hop-by-hop, routing, fragment and destination options; each is at least 8 bytes, so this ends.
        while [0, 43, 44, 60].contains(transport) {
            guard payload + 8 <= end else { return nil }
            let isFragment = transport == 44
            guard !isFragment || bytes.loadUInt16(at: payload + 2) & 0xfff8 == 0 else { return nil }
            transport = bytes[payload]
            payload += isFragment ? 8 : (Int(bytes[payload + 1]) + 1) * 8
            guard payload <= end else { return nil }
        }
    }
}
