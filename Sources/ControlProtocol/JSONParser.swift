extension JSONValue {
    /// The deepest nesting of arrays and objects the parser follows.
    public static let maximumDepth = 32

    /// Parses exactly one value with optional white space around it.
    ///
    /// Strict: RFC 8259 grammar, valid UTF-8, no duplicate names, at most ``maximumDepth`` levels and `limit` bytes.
    /// - Parameters:
    ///   - bytes: UTF-8 text from anywhere; nothing in it can trap.
    ///   - limit: the most bytes accepted.
    /// - Throws: ``ControlProtocolError/syntax(_:offset:)``.
    public init(parsing bytes: [UInt8], limit: Int) throws(ControlProtocolError) {
        guard bytes.count <= limit else { throw .syntax("more than \(limit) bytes", offset: limit) }
        var parser = JSONParser(bytes: bytes)
        self = try parser.document()
    }
}

/// A recursive descent parser whose recursion is bounded by ``JSONValue/maximumDepth``.
struct JSONParser {
    let bytes: [UInt8]
    var offset = 0

    init(bytes: [UInt8]) { self.bytes = bytes }

    mutating func document() throws(ControlProtocolError) -> JSONValue {
        let value = try value(depth: 0)
        skipSpace()
        guard offset == bytes.count else { throw fail("text after the value") }
        return value
    }

    // MARK: - Cursor

    var next: UInt8? { offset < bytes.count ? bytes[offset] : nil }

    mutating func skipSpace() {
        while let byte = next, byte == 0x20 || byte == 0x09 || byte == 0x0A || byte == 0x0D { offset += 1 }
    }

    /// Steps over `byte` if it comes next.
    mutating func take(_ byte: UInt8) -> Bool {
        guard next == byte else { return false }
        offset += 1
        return true
    }

    func fail(_ what: String) -> ControlProtocolError { .syntax(what, offset: offset) }

    // MARK: - Values

    private mutating func value(depth: Int) throws(ControlProtocolError) -> JSONValue {
        guard depth < JSONValue.maximumDepth else { throw fail("nested too deeply") }
        skipSpace()
        guard let byte = next else { throw fail("ends where a value was expected") }
        switch byte {
        case UInt8(ascii: "{"): return .object(try object(depth: depth))
        case UInt8(ascii: "["): return .array(try array(depth: depth))
        case UInt8(ascii: "\""): return .string(try string())
        case UInt8(ascii: "t"): return try literal("true", .bool(true))
        case UInt8(ascii: "f"): return try literal("false", .bool(false))
        case UInt8(ascii: "n"): return try literal("null", .null)
        case UInt8(ascii: "-"), UInt8(ascii: "0")...UInt8(ascii: "9"): return try number()
        default: throw fail("no value begins here")
        }
    }

    private mutating func literal(
        _ word: StaticString, _ value: JSONValue
    ) throws(ControlProtocolError) -> JSONValue {
        for byte in word.description.utf8 where !take(byte) { throw fail("expected \(word)") }
        return value
    }

    private mutating func array(depth: Int) throws(ControlProtocolError) -> [JSONValue] {
        offset += 1
        var values: [JSONValue] = []
        skipSpace()
        if take(UInt8(ascii: "]")) { return values }
        while true {
            values.append(try value(depth: depth + 1))
            skipSpace()
            if take(UInt8(ascii: "]")) { return values }
            guard take(UInt8(ascii: ",")) else { throw fail("expected , or ]") }
        }
    }

    private mutating func object(depth: Int) throws(ControlProtocolError) -> [JSONMember] {
        offset += 1
        var members: [JSONMember] = []
        var names: Set<String> = []
        skipSpace()
        if take(UInt8(ascii: "}")) { return members }
        while true {
            skipSpace()
            guard next == UInt8(ascii: "\"") else { throw fail("expected a name") }
            let name = try string()
            guard names.insert(name).inserted else { throw fail("the same name twice") }
            skipSpace()
            guard take(UInt8(ascii: ":")) else { throw fail("expected :") }
            members.append(JSONMember(name, try value(depth: depth + 1)))
            skipSpace()
            if take(UInt8(ascii: "}")) { return members }
            guard take(UInt8(ascii: ",")) else { throw fail("expected , or }") }
        }
    }
}
