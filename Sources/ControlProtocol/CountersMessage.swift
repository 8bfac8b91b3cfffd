/// Monotonic counts by name, in the daemon's order. The names are those of the engine's `EngineCounters` in snake
/// case, as all names of this protocol: `public_key_operations`.
public struct CountersMessage: ControlMessage {
    public struct Counter: Sendable, Hashable {
        public var name: String
        public var value: UInt64

        public init(_ name: String, _ value: UInt64) {
            self.name = name
            self.value = value
        }
    }

    /// Names are unique.
    public var counters: [Counter]

    public init(_ counters: [Counter]) { self.counters = counters }

    /// Every stored property of `value` that is a `UInt64`, under its name in snake case.
    public init(reflecting value: Any) {
        counters = Mirror(reflecting: value).children.compactMap { child in
            guard let label = child.label, let count = child.value as? UInt64 else { return nil }
            return Counter(Self.snakeCase(label), count)
        }
    }

    /// `publicKeyOperations` becomes `public_key_operations`.
    private static func snakeCase(_ name: String) -> String {
        name.reduce(into: "") { text, letter in
            if letter.isUppercase { text += "_" + letter.lowercased() } else { text.append(letter) }
        }
    }

    /// The count of that name, 0 where the daemon has none.
    public subscript(name: String) -> UInt64 { counters.first { $0.name == name }?.value ?? 0 }

    public var json: JSONValue { .object(counters.map { JSONMember($0.name, .count($0.value)) }) }

    public init(json: JSONValue) throws(ControlProtocolError) {
        guard case .object(let members) = json else { throw .shape(key: "counters", expected: "an object") }
        let reader = try ObjectReader(json, "counters")
        counters = try members.map { (member) throws(ControlProtocolError) in
            Counter(member.name, try reader.count(member.name))
        }
    }
}
