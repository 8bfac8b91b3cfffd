/// What a word of a specification may be: its name, how it is written, what the device does.
public struct DeviceKind: Sendable {
    public let name: String
    /// Such as `delay=TIME`.
    public let usage: String
    public let summary: String
    let read: @Sendable (ValueReader) throws(PathSpecificationError) -> DeviceSpecification

    init(
        _ usage: String, _ summary: String,
        _ read: @escaping @Sendable (ValueReader) throws(PathSpecificationError) -> DeviceSpecification
    ) {
        name = String(usage.prefix { $0 != "=" && $0 != "[" })
        self.usage = usage
        self.summary = summary
        self.read = read
    }

    /// Every device there is.
    public static let all = impairments

    /// The devices and the units of their parameters, a line each.
    public static var help: String {
        let lines =
            (all.map { ($0.usage, $0.summary) } + [("queue=SIZE", "of the rate before it: more is dropped (0.1 s)")])
            .map { usage, summary in
                "  " + usage + String(repeating: " ", count: max(1, 28 - usage.count)) + summary
            }
        return lines.joined(separator: "\n") + """
            \n
            TIME: 25ms, 200us, 1.5s. CHANCE: 1%, 0.1% or 0.01. RATE: 100mbit, 64kbit, 1gbit (per second).
            SIZE: 250kB, 2MB, 3000B (powers of ten).
            """
    }

    static let impairments: [DeviceKind] = [
        DeviceKind("delay=TIME", "every packet later by TIME") { reader throws(PathSpecificationError) in
            .delay(try reader.time())
        },
        DeviceKind("jitter=TIME", "and by up to TIME more, in order") { reader throws(PathSpecificationError) in
            .jitter(try reader.time())
        },
        DeviceKind("rate=RATE", "a link of that rate, with a queue before it") {
            reader throws(PathSpecificationError) in
            .rate(try reader.rate(), queue: nil)
        },
        DeviceKind("loss=CHANCE", "packets are lost, each for itself") { reader throws(PathSpecificationError) in
            .loss(try reader.chance())
        },
        DeviceKind("burst=CHANCE:N", "with CHANCE per packet a run of about N is lost") {
            reader throws(PathSpecificationError) in
            let (chance, run) = try reader.pair()
            return .burst(try chance.chance(), run: Double(try run.number(1...100_000)))
        },
        DeviceKind("reorder=CHANCE:TIME", "packets are held up by TIME, others overtake them") {
            reader throws(PathSpecificationError) in
            let (chance, time) = try reader.pair()
            return .reorder(try chance.chance(), extra: try time.time())
        },
        DeviceKind("duplicate=CHANCE", "packets arrive twice") { reader throws(PathSpecificationError) in
            .duplicate(try reader.chance())
        },
        DeviceKind("corrupt=CHANCE", "a byte behind the IP header is changed, the checksum is not") {
            reader throws(PathSpecificationError) in .corrupt(try reader.chance())
        },
        DeviceKind("tamper=CHANCE", "a byte of TCP's data is changed, and the checksum made right") {
            reader throws(PathSpecificationError) in .tamper(try reader.chance())
        },
    ]
}

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
