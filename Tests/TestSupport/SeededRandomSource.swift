public import Tcpcrypt

/// A ``SeededRandom`` as the engine takes it.
public final class SeededRandomSource: RandomSource {
    private var random: SeededRandom

    public init(seed: UInt64) { random = SeededRandom(seed: seed) }

    public func bytes(_ count: Int) -> [UInt8] { random.bytes(count) }
}
