import SystemPackage

/// A reusable receive buffer and the packets found in it.
public struct PacketBuffer: ~Copyable, Sendable {
    /// The packets of the last receive, in order.
    public private(set) var packets: [QueuedPacket] = []
    /// Failures the kernel reported for verdicts since the buffer was made (an unknown packet id, say).
    public private(set) var verdictErrors: UInt64 = 0
    /// Messages that could not be read since the buffer was made.
    public private(set) var malformed: UInt64 = 0

    var bytes: [UInt8]

    public init() {
        // The largest IP packet and the attributes around it.
        bytes = [UInt8](repeating: 0, count: 0xffff + 4096)
        packets.reserveCapacity(16)
    }

    /// The whole IP packet, valid until the next receive.
    @_lifetime(borrow self)
    public func payload(of packet: QueuedPacket) -> Span<UInt8> {
        let range = packet.payload.clamped(to: 0..<bytes.count)
        return bytes.span.extracting(range)
    }

    /// Reads the `count` bytes received.
    mutating func parse(_ count: Int) {
        // Moved out and back, since the span borrows all of self.
        var found: [QueuedPacket] = []
        swap(&found, &packets)
        found.removeAll(keepingCapacity: true)
        let unread = Self.read(bytes.span.extracting(first: max(0, min(count, bytes.count))), into: &found)
        swap(&found, &packets)
        verdictErrors &+= unread.errors
        malformed &+= unread.malformed
    }

    private static func read(
        _ span: Span<UInt8>, into packets: inout [QueuedPacket]
    ) -> (errors: UInt64, malformed: UInt64) {
        var errors: UInt64 = 0
        var malformed: UInt64 = 0
        var cursor = 0
        while let header = span.nextMessage(&cursor) {
            if let packet = span.queuedPacket(header) {
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
