/// Why bytes are not a TCP packet: always the sender's fault.
public enum PacketError: Error, Sendable, Hashable {
    case truncated
    case unknownIPVersion
    case badIPHeader
    case notTCP
    case fragment
    case badTCPHeader
}

/// TCP header flags (RFC 9293 section 3.1).
public struct TCPFlags: OptionSet, Hashable, Sendable {
    public let rawValue: UInt8
    public init(rawValue: UInt8) { self.rawValue = rawValue }

    public static let fin = TCPFlags(rawValue: 0x01)
    public static let syn = TCPFlags(rawValue: 0x02)
    public static let rst = TCPFlags(rawValue: 0x04)
    public static let psh = TCPFlags(rawValue: 0x08)
    public static let ack = TCPFlags(rawValue: 0x10)
    public static let urg = TCPFlags(rawValue: 0x20)
}

/// The header fields of one IP packet that holds one TCP segment, checked against its bytes.
///
/// A value, not a view: the bytes are passed along where they are needed. Every range lies within the
/// parsed bytes and `payload.upperBound` is the end of the IP packet, whatever follows it.
public struct TCPPacket: Sendable {
    public let source: Endpoint
    public let destination: Endpoint
    public let sequence: SequenceNumber
    public let acknowledgment: SequenceNumber
    public let flags: TCPFlags
    /// As on the wire, not scaled.
    public let window: UInt16
    public let urgentPointer: UInt16
    /// Where the TCP header begins: the IP header with its options or extension headers ends there.
    public let tcpOffset: Int
    public let options: Range<Int>
    public let payload: Range<Int>

    public var isIPv6: Bool { source.address.isIPv6 }
    /// Data bytes plus SYN and FIN.
    public var sequenceLength: Int {
        payload.count + (flags.contains(.syn) ? 1 : 0) + (flags.contains(.fin) ? 1 : 0)
    }

    /// - Throws: ``PacketError`` for anything but a whole, unfragmented TCP segment in IPv4 or IPv6.
    public init(parsing bytes: Span<UInt8>) throws(PacketError) {
        guard bytes.count >= 20 else { throw .truncated }
        let ip = try (bytes[0] >> 4 == 4 ? IPHeader(ipv4: bytes) : IPHeader(ipv6: bytes))
        let tcp = ip.length
        guard ip.end >= tcp + 20 else { throw .truncated }
        let headerLength = Int(bytes[tcp + 12] >> 4) * 4
        guard headerLength >= 20, tcp + headerLength <= ip.end else { throw .badTCPHeader }
        source = Endpoint(address: ip.source, port: bytes.loadUInt16(at: tcp))
        destination = Endpoint(address: ip.destination, port: bytes.loadUInt16(at: tcp + 2))
        sequence = SequenceNumber(bytes.loadUInt32(at: tcp + 4))
        acknowledgment = SequenceNumber(bytes.loadUInt32(at: tcp + 8))
        flags = TCPFlags(rawValue: bytes[tcp + 13])
        window = bytes.loadUInt16(at: tcp + 14)
        urgentPointer = bytes.loadUInt16(at: tcp + 18)
        tcpOffset = tcp
        options = tcp + 20..<tcp + headerLength
        payload = tcp + headerLength..<ip.end
    }
}

/// The part of an IP header that TCP needs.
private struct IPHeader {
    var source: IPAddress
    var destination: IPAddress
    var length: Int
    var end: Int

    init(ipv4 bytes: Span<UInt8>) throws(PacketError) {
        length = Int(bytes[0] & 0xf) * 4
        end = Int(bytes.loadUInt16(at: 2))
        guard length >= 20, end >= length else { throw .badIPHeader }
        guard end <= bytes.count else { throw .truncated }
        guard bytes[9] == 6 else { throw .notTCP }
        guard bytes.loadUInt16(at: 6) & 0x3fff == 0 else { throw .fragment }
        source = IPAddress(ipv4: bytes.loadUInt32(at: 12))
        destination = IPAddress(ipv4: bytes.loadUInt32(at: 16))
    }

    init(ipv6 bytes: Span<UInt8>) throws(PacketError) {
        guard bytes[0] >> 4 == 6 else { throw .unknownIPVersion }
        guard bytes.count >= 40 else { throw .truncated }
        end = 40 + Int(bytes.loadUInt16(at: 4))
        guard end <= bytes.count else { throw .truncated }
        source = IPAddress(ipv6High: bytes.loadUInt64(at: 8), low: bytes.loadUInt64(at: 16))
        destination = IPAddress(ipv6High: bytes.loadUInt64(at: 24), low: bytes.loadUInt64(at: 32))
        length = 40
        var next = bytes[6]
        while next != 6 {
            // Hop-by-hop, routing and destination options; each is at least 8 bytes, so this ends.
            if next == 44 { throw .fragment }
            guard next == 0 || next == 43 || next == 60 else { throw .notTCP }
            guard length + 8 <= end else { throw .truncated }
            next = bytes[length]
            length += (Int(bytes[length + 1]) + 1) * 8
            guard length <= end else { throw .badIPHeader }
        }
    }
}
