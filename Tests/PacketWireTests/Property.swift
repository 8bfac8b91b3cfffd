import TestSupport
import Testing

/// Runs `body` with one source of chance per seed; what fails names its seed.
enum Property {
    /// - Parameter body: returns what is wrong, or nil.
    static func holds(
        seeds: Range<UInt64> = 0..<500, sourceLocation: SourceLocation = #_sourceLocation,
        _ body: (inout SeededRandom) -> String?
    ) {
        for seed in seeds {
            var random = SeededRandom(seed: seed)
            guard let problem = body(&random) else { continue }
            Issue.record("seed \(seed): \(problem)", sourceLocation: sourceLocation)
            return
        }
    }
}

/// Bytes of hexadecimal text, blanks ignored.
func hex(_ text: String) -> [UInt8] {
    let digits = text.compactMap { $0.hexDigitValue.map { UInt8($0) } }
    return stride(from: 0, to: digits.count - 1, by: 2).map { digits[$0] << 4 | digits[$0 + 1] }
}
