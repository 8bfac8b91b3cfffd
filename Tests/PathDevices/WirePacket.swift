public import PacketWire

/// The frame around a packet on a real link; all zero in a simulation.
public struct LinkHeader: Sendable, Hashable {
    /// 48 bits each.
    public var destination: UInt64 = 0
    public var source: UInt64 = 0
    public var type: UInt16 = 0

    public init() {}

    /// That of an answer.
    public var reversed: LinkHeader {
        var answer = self
        swap(&answer.destination, &answer.source)
        return answer
    }
}

/// One packet between a host's kernel and the other's.
public struct WirePacket: Sendable {
    public var bytes: [UInt8]
    public var link = LinkHeader()
    /// Data bytes per segment of a super-packet (`gso_size`); nil for an ordinary packet.
    public var segmentSize: Int?
    /// The TCP checksum field holds only the pseudo-header sum; hardware or stack will finish it.
    public var hasPartialChecksum = false
    /// Made or altered by an attacker.
    public var isForged = false

    public init(_ bytes: [UInt8], segmentSize: Int? = nil, hasPartialChecksum: Bool = false) {
        self.bytes = bytes
        self.segmentSize = segmentSize
        self.hasPartialChecksum = hasPartialChecksum
    }

    public var parsed: TCPPacket? { try? TCPPacket(parsing: bytes.span) }
}
