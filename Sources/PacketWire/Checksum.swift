/// The Internet checksum (RFC 1071): one's complement sum of 16-bit big-endian words.
public struct Checksum: Sendable {
    private var sum: UInt64 = 0
    private var isOdd = false

    public init() {}

    public mutating func add(word: UInt16) { sum &+= UInt64(word) }

    public mutating func add(_ address: IPAddress) {
        var rest = address.low
        for _ in 0..<4 {
            add(word: UInt16(truncatingIfNeeded: rest))
            rest >>= 16
        }
        rest = address.high
        for _ in 0..<4 {
            add(word: UInt16(truncatingIfNeeded: rest))
            rest >>= 16
        }
    }

    /// Adds bytes that continue those added before, also across odd lengths.
    public mutating func add(_ bytes: Span<UInt8>) {
        var even: UInt64 = 0
        var odd: UInt64 = 0
        let pairs = bytes.count / 2
        var index = 0
        for _ in 0..<pairs {
            even &+= UInt64(bytes[index])
            odd &+= UInt64(bytes[index &+ 1])
            index &+= 2
        }
        if bytes.count % 2 == 1 { even &+= UInt64(bytes[index]) }
        sum &+= isOdd ? odd << 8 &+ even : even << 8 &+ odd
        if bytes.count % 2 == 1 { isOdd.toggle() }
    }

    /// The value to store in a header whose checksum field was zero while summing.
    public var value: UInt16 {
        var folded = sum
        while folded > 0xffff { folded = folded & 0xffff &+ folded >> 16 }
        return ~UInt16(truncatingIfNeeded: folded)
    }
}
