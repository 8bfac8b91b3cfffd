import ControlProtocol
import Testing

/// A small generator with a seed (SplitMix64), so that failures repeat.
struct SeededGenerator: RandomNumberGenerator {
    var state: UInt64

    mutating func next() -> UInt64 {
        state &+= 0x9E37_79B9_7F4A_7C15
        var value = state
        value = (value ^ value >> 30) &* 0xBF58_476D_1CE4_E5B9
        value = (value ^ value >> 27) &* 0x94D0_49BB_1331_11EB
        return value ^ value >> 31
    }
}

@Suite struct JSONFuzzTests {
    private static func value(_ random: inout SeededGenerator, depth: Int) -> JSONValue {
        switch Int.random(in: 0..<(depth > 0 ? 7 : 5), using: &random) {
        case 0: return .null
        case 1: return .bool(Bool.random(using: &random))
        case 2: return .integer(Int64.random(in: Int64.min...Int64.max, using: &random))
        // A quarter in the fraction: never mistaken for an integer, exact in decimal.
        case 3: return .number(Double(Int32.random(in: Int32.min...Int32.max, using: &random)) + 0.25)
        case 4: return .string(string(&random))
        case 5: return .array((0..<Int.random(in: 0..<5, using: &random)).map { _ in value(&random, depth: depth - 1) })
        default:
            let names = Set((0..<Int.random(in: 0..<5, using: &random)).map { _ in string(&random) })
            return .object(names.sorted().map { JSONMember($0, value(&random, depth: depth - 1)) })
        }
    }

    private static func string(_ random: inout SeededGenerator) -> String {
        let scalars = (0..<Int.random(in: 0..<8, using: &random)).compactMap { _ in
            Unicode.Scalar(UInt32.random(in: 0..<(Bool.random(using: &random) ? 0x80 : 0x11_0000), using: &random))
        }
        return String(String.UnicodeScalarView(scalars))
    }

    @Test(arguments: 0..<20 as Range<UInt64>)
    func whatIsWrittenIsReadAgain(seed: UInt64) throws {
        var random = SeededGenerator(state: seed)
        for _ in 0..<200 {
            let value = Self.value(&random, depth: 5)
            #expect(try JSONValue(parsing: Array(value.text.utf8), limit: 1 << 20) == value)
        }
    }

    /// Damaged texts are refused or read as something; either way nothing traps.
    @Test(arguments: 0..<20 as Range<UInt64>)
    func damageNeverTraps(seed: UInt64) {
        var random = SeededGenerator(state: seed &+ 1000)
        for _ in 0..<500 {
            var bytes = Array(Self.value(&random, depth: 5).text.utf8)
            for _ in 0..<Int.random(in: 1..<4, using: &random) where !bytes.isEmpty {
                let index = Int.random(in: 0..<bytes.count, using: &random)
                switch Int.random(in: 0..<4, using: &random) {
                case 0: bytes[index] = UInt8.random(in: 0...255, using: &random)
                case 1: bytes.remove(at: index)
                case 2: bytes.insert(Array("[]{},:\"\\u0e-.".utf8)[Int.random(in: 0..<13, using: &random)], at: index)
                default: bytes = Array(bytes[..<index])
                }
            }
            _ = try? JSONValue(parsing: bytes, limit: 1 << 16)
            _ = try? ControlRequest(line: bytes, limit: 1 << 16)
            _ = try? ControlResponse(line: bytes, limit: 1 << 16)
        }
    }

    @Test(arguments: 0..<4 as Range<UInt64>)
    func randomBytesNeverTrap(seed: UInt64) {
        var random = SeededGenerator(state: seed &+ 2000)
        for _ in 0..<2000 {
            let bytes = (0..<Int.random(in: 0..<64, using: &random)).map { _ in
                UInt8.random(in: 0...255, using: &random)
            }
            _ = try? JSONValue(parsing: bytes, limit: 1 << 16)
        }
    }
}
