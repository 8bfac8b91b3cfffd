/// A TCP sequence number: 32 bits, modular (RFC 9293 section 3.4).
public struct SequenceNumber: Hashable, Sendable {
    public var rawValue: UInt32

    public init(_ rawValue: UInt32) { self.rawValue = rawValue }

    public static func + (a: SequenceNumber, count: Int) -> SequenceNumber {
        SequenceNumber(a.rawValue &+ UInt32(truncatingIfNeeded: count))
    }

    /// How far `self` lies behind `origin` in sequence space, as the nearest value: -2^31 ..< 2^31.
    public func distance(from origin: SequenceNumber) -> Int {
        Int(Int32(bitPattern: rawValue &- origin.rawValue))
    }
}

/// The first sequence number of a stream, from which its bytes are counted without wrapping.
///
/// Offset 0 is the byte after the SYN, offset -1 the SYN itself.
public struct SequenceOrigin: Sendable, Hashable {
    public let initial: SequenceNumber

    /// - Parameter initial: the initial sequence number, that of the SYN.
    public init(initial: SequenceNumber) { self.initial = initial }

    /// The offset of `number` nearest to `reference`, an offset known to be within 2 GB of it.
    public func offset(of number: SequenceNumber, near reference: Int) -> Int {
        reference &+ number.distance(from: sequence(at: reference))
    }

    public func sequence(at offset: Int) -> SequenceNumber { initial + (offset &+ 1) }
}
