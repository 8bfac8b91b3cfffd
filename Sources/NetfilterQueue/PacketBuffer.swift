import SystemPackage

/// A reusable buffer for several datagrams of a queue and the packets found in them.
public struct PacketBuffer: ~Copyable, Sendable {
    /// The packets of the last receive, in order.
    public private(set) var packets: [QueuedPacket] = []
    /// Failures the kernel reported for verdicts since the buffer was made (an unknown packet id, say).
    public private(set) var verdictErrors: UInt64 = 0
    /// Messages that could not be read since the buffer was made.
    public private(set) var malformed: UInt64 = 0

    /// Datagrams it has room for.
    public static let capacity = 8
    /// Room for the largest IP packet and the attributes around it. No power of two, or headers would share a few lines of the cache.
    static let slot = 0x1_0000 + 4096 + 64

    var bytes: [UInt8]
    var lengths: [Int]

    public init() {
        bytes = [UInt8](repeating: 0, count: Self.capacity * Self.slot)
        lengths = [Int](repeating: 0, count: Self.capacity)
        packets.reserveCapacity(16)
    }

    /// The whole IP packet, valid until the next receive.
    @_lifetime(borrow self)
    public func payload(of packet: QueuedPacket) -> Span<UInt8> {
        let range = packet.payload.clamped(to: 0..<bytes.count)
        return bytes.span.extracting(range)
    }

    /// Reads the first `count` datagrams received.
    mutating func parse(_ count: Int) {
        // Moved out and back, since the span borrows all of self.
        var found: [QueuedPacket] = []
        swap(&found, &packets)
        found.removeAll(keepingCapacity: true)
        for index in 0..<min(count, Self.capacity) {
            let start = index * Self.slot
            let length = max(0, min(lengths[index], Self.slot))
            let unread = Self.read(bytes.span.extracting(start..<start + length), at: start, into: &found)
            verdictErrors &+= unread.errors
            malformed &+= unread.malformed
        }
        swap(&found, &packets)
    }

    private static func read(
        _ span: Span<UInt8>, at start: Int, into packets: inout [QueuedPacket]
    ) -> (errors: UInt64, malformed: UInt64) {
        var errors: UInt64 = 0
        var malformed: UInt64 = 0
        var cursor = 0
        while let header = span.nextMessage(&cursor) {
            if var packet = span.queuedPacket(header) {
                packet.payload = start + packet.payload.lowerBound..<start + packet.payload.upperBound
                packets.append(packet)
            } else if let code = span.errorNumber(header) {
                if code != 0 { errors &+= 1 }
            } else {
                malformed &+= 1
            }
        }
        return (errors, cursor < span.count ? malformed &+ 1 : malformed)
    }
}
