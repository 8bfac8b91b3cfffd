/// The value behind a word's `=`, read as what the device wants.
struct ValueReader {
    let word: String
    let text: String?

    func error(_ reason: String) -> PathSpecificationError { PathSpecificationError(word: word, reason: reason) }

    private func value() throws(PathSpecificationError) -> String {
        guard let text, !text.isEmpty else { throw error("a value is missing") }
        guard text.utf8.count <= 40 else { throw error("the value is too long") }
        return text
    }

    /// That the word has no value.
    func nothing() throws(PathSpecificationError) {
        guard text == nil else { throw error("this device takes no value") }
    }

    /// `A:B` as two readers.
    func pair() throws(PathSpecificationError) -> (ValueReader, ValueReader) {
        let parts = try value().split(separator: ":", omittingEmptySubsequences: false).map(String.init)
        guard parts.count == 2 else { throw error("two values with a colon between them are wanted") }
        return (ValueReader(word: word, text: parts[0]), ValueReader(word: word, text: parts[1]))
    }

    func number(_ range: ClosedRange<Int>) throws(PathSpecificationError) -> Int {
        let text = try value()
        guard text.utf8.allSatisfy({ (0x30...0x39).contains($0) }), let number = Int(text), range.contains(number)
        else {
            throw error("a whole number from \(range.lowerBound) to \(range.upperBound) is wanted")
        }
        return number
    }

    func size(_ range: ClosedRange<Int>) throws(PathSpecificationError) -> Int {
        Int(try measure(["B": 1, "kB": 1e3, "MB": 1e6], Double(range.lowerBound)...Double(range.upperBound)))
    }

    func time() throws(PathSpecificationError) -> Int64 {
        Int64(try measure(["ns": 1, "us": 1e3, "ms": 1e6, "s": 1e9], 0...3600e9))
    }

    func rate() throws(PathSpecificationError) -> BitRate {
        BitRate(bitsPerSecond: Int64(try measure(["bit": 1, "kbit": 1e3, "mbit": 1e6, "gbit": 1e9], 1000...1e12)))
    }

    func chance() throws(PathSpecificationError) -> Double { try measure(["": 1, "%": 0.01], 0...1) }

    /// One of a few words.
    func choice<Value>(_ choices: KeyValuePairs<String, Value>) throws(PathSpecificationError) -> Value {
        let text = try value()
        guard let found = choices.first(where: { $0.key == text }) else {
            throw error("one of \(choices.map(\.key).joined(separator: ", ")) is wanted")
        }
        return found.value
    }

    private func measure(
        _ units: KeyValuePairs<String, Double>, _ range: ClosedRange<Double>
    ) throws(PathSpecificationError) -> Double {
        let text = try value()
        // Not all that `Double` reads: no sign, no exponent, no infinity.
        let digits = text.prefix { $0 == "." || $0.isASCII && $0.isNumber }
        guard let unit = units.first(where: { $0.key == text.dropFirst(digits.count) }) else {
            throw error(
                "a number with a unit is wanted: \(units.map(\.key).filter { !$0.isEmpty }.joined(separator: ", "))")
        }
        guard let number = Double(digits), range.contains(number * unit.value) else {
            throw error("out of range")
        }
        return number * unit.value
    }
}
