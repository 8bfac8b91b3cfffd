/// Monotonic counts by name, in the daemon's order. The names are those of the engine's `EngineCounters`.
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
