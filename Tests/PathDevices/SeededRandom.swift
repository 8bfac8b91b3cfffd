/// SplitMix64: the only source of chance in the tests, so that one number reproduces a run.
public struct SeededRandom: RandomNumberGenerator, Sendable {
    private var state: UInt64

    public init(seed: UInt64) { state = seed }

    public mutating func next() -> UInt64 {
        state &+= 0x9e37_79b9_7f4a_7c15
        var mixed = state
        mixed = (mixed ^ mixed >> 30) &* 0xbf58_476d_1ce4_e5b9
        mixed = (mixed ^ mixed >> 27) &* 0x94d0_49bb_1331_11eb
        return mixed ^ mixed >> 31
    }

    /// True with the given probability, 0 to 1.
    public mutating func chance(_ probability: Double) -> Bool {
        Double(next() >> 11) < probability * Double(1 << 53)
    }

    public mutating func int(_ range: ClosedRange<Int>) -> Int {
        range.lowerBound + Int(truncatingIfNeeded: next() % UInt64(range.count))
    }

    /// One of `values`, which must not be empty.
    public mutating func pick<Element>(_ values: [Element]) -> Element { values[int(0...values.count - 1)] }

    public mutating func bytes(_ count: Int) -> [UInt8] {
        (0..<count).map { _ in UInt8(truncatingIfNeeded: next() >> 24) }
    }

    /// A value whose magnitude is spread evenly on a logarithmic scale.
    public mutating func logarithmic(_ range: ClosedRange<Int>) -> Int {
        let least = max(1, range.lowerBound)
        var doublings = 0
        while least << doublings < range.upperBound { doublings += 1 }
        let high = min(range.upperBound, least << int(0...doublings))
        return int((range.lowerBound == 0 || high < 2 * least ? range.lowerBound : high / 2)...high)
    }

    /// An independent generator, so that one part's use of chance does not move another's.
    public mutating func fork() -> SeededRandom { SeededRandom(seed: next()) }
}
