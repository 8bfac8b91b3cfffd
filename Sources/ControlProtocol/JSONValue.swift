/// A JSON value (RFC 8259). Objects keep the order of their members, so that what is written is stable.
public enum JSONValue: Sendable, Hashable {
    case null
    case bool(Bool)
    /// A number without fraction or exponent that fits 64 bits.
    case integer(Int64)
    /// Any other number; always finite.
    case number(Double)
    case string(String)
    case array([JSONValue])
    /// Members in order, names unique.
    case object([JSONMember])

    /// A count; JSON has no unsigned type, and counts past 2^63 are clamped.
    public static func count(_ value: UInt64) -> JSONValue { .integer(Int64(clamping: value)) }

    public static func integer(_ value: Int) -> JSONValue { .integer(Int64(value)) }

    /// `null` where there is no text.
    public static func text(_ value: String?) -> JSONValue { value.map { .string($0) } ?? .null }

    public static func strings(_ values: [String]) -> JSONValue { .array(values.map { .string($0) }) }

    public static func integers(_ values: [Int]) -> JSONValue { .array(values.map { .integer($0) }) }
}

/// One name and its value in a ``JSONValue/object(_:)``.
public struct JSONMember: Sendable, Hashable {
    public var name: String
    public var value: JSONValue

    public init(_ name: String, _ value: JSONValue) {
        self.name = name
        self.value = value
    }
}

extension JSONValue: ExpressibleByDictionaryLiteral {
    /// An object with its members in the order written.
    public init(dictionaryLiteral elements: (String, JSONValue)...) {
        self = .object(elements.map { JSONMember($0.0, $0.1) })
    }
}
