/// An endless byte stream that is known at every offset and recognizable anywhere in a packet.
///
/// Blocks of 8 bytes: a fixed mark of 5, the stream's number, and the block number (16 bits).
public struct PatternStream: Sendable, Hashable {
    public static let mark: [UInt8] = [0xa5, 0x5c, 0xc3, 0x3e, 0x96]
    public let number: UInt8

    public init(number: UInt8) { self.number = number }

    public func byte(at offset: Int) -> UInt8 {
        switch offset & 7 {
        case 5: number
        case 6: UInt8(truncatingIfNeeded: offset >> 11)
        case 7: UInt8(truncatingIfNeeded: offset >> 3)
        default: Self.mark[offset & 7]
        }
    }

    public func bytes(_ range: Range<Int>) -> [UInt8] { range.map(byte(at:)) }

    /// Whether `bytes` are what the stream holds from `offset` on.
    public func matches(_ bytes: Span<UInt8>, at offset: Int) -> Bool {
        for index in 0..<bytes.count where bytes[index] != byte(at: offset + index) { return false }
        return true
    }

    /// Whether any stream's mark stands in `bytes`.
    public static func isVisible(in bytes: Span<UInt8>) -> Bool {
        guard bytes.count >= mark.count else { return false }
        for start in 0...bytes.count - mark.count where bytes[start] == 0xa5 {
            var length = 1
            while length < mark.count, bytes[start + length] == mark[length] { length += 1 }
            if length == mark.count { return true }
        }
        return false
    }
}
