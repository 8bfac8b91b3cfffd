/// The fuzzer's bytes as a source of choices; zeros when they are used up.
struct Choices {
    private let bytes: [UInt8]
    private var position = 0

    init(_ bytes: [UInt8]) { self.bytes = bytes }

    var isEmpty: Bool { position >= bytes.count }

    mutating func byte() -> UInt8 {
        guard position < bytes.count else { return 0 }
        defer { position += 1 }
        return bytes[position]
    }

    mutating func word() -> Int { Int(byte()) << 8 | Int(byte()) }

    /// A number in 0..<bound.
    mutating func below(_ bound: Int) -> Int { bound <= 0 ? 0 : Int(byte()) % bound }

    mutating func take(_ count: Int) -> [UInt8] {
        let end = min(bytes.count, position + count)
        defer { position = end }
        return Array(bytes[position..<end])
    }

    mutating func rest() -> [UInt8] { take(bytes.count) }
}

func require(_ condition: Bool, _ what: StaticString) {
    if !condition { fatalError("\(what)") }
}
