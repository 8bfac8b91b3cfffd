/// Typed access to the members of a JSON object; every failure names the member.
struct ObjectReader {
    private var members: [String: JSONValue] = [:]

    /// - Parameter what: how the object is called where the value is none.
    init(_ json: JSONValue, _ what: String) throws(ControlProtocolError) {
        guard case .object(let list) = json else { throw .shape(key: what, expected: "an object") }
        for member in list { members[member.name] = member.value }
    }

    func value(_ key: String) throws(ControlProtocolError) -> JSONValue {
        guard let value = members[key] else { throw .shape(key: key, expected: "present") }
        return value
    }

    func string(_ key: String) throws(ControlProtocolError) -> String {
        guard case .string(let value)? = members[key] else { throw .shape(key: key, expected: "a string") }
        return value
    }

    /// `nil` for null and for an absent member.
    func optionalString(_ key: String) throws(ControlProtocolError) -> String? {
        isNull(key) ? nil : try string(key)
    }

    func integer(_ key: String) throws(ControlProtocolError) -> Int {
        guard case .integer(let value)? = members[key], let exact = Int(exactly: value) else {
            throw .shape(key: key, expected: "an integer")
        }
        return exact
    }

    func optionalInteger(_ key: String) throws(ControlProtocolError) -> Int? {
        isNull(key) ? nil : try integer(key)
    }

    func bool(_ key: String) throws(ControlProtocolError) -> Bool {
        guard case .bool(let value)? = members[key] else { throw .shape(key: key, expected: "true or false") }
        return value
    }

    func optionalBool(_ key: String) throws(ControlProtocolError) -> Bool? {
        isNull(key) ? nil : try bool(key)
    }

    func count(_ key: String) throws(ControlProtocolError) -> UInt64 {
        guard case .integer(let value)? = members[key], let exact = UInt64(exactly: value) else {
            throw .shape(key: key, expected: "an integer not below 0")
        }
        return exact
    }

    func array(_ key: String) throws(ControlProtocolError) -> [JSONValue] {
        guard case .array(let values)? = members[key] else { throw .shape(key: key, expected: "an array") }
        return values
    }

    func strings(_ key: String) throws(ControlProtocolError) -> [String] {
        try array(key).map { (value) throws(ControlProtocolError) in
            guard case .string(let text) = value else { throw .shape(key: key, expected: "an array of strings") }
            return text
        }
    }

    func integers(_ key: String) throws(ControlProtocolError) -> [Int] {
        try array(key).map { (value) throws(ControlProtocolError) in
            guard case .integer(let number) = value, let exact = Int(exactly: number) else {
                throw .shape(key: key, expected: "an array of integers")
            }
            return exact
        }
    }

    /// `nil` for null and for an absent member.
    func optionalMessage<Message: ControlMessage>(
        _ key: String, _ type: Message.Type = Message.self
    ) throws(ControlProtocolError) -> Message? {
        isNull(key) ? nil : try Message(json: value(key))
    }

    func messages<Message: ControlMessage>(
        _ key: String, _ type: Message.Type = Message.self
    ) throws(ControlProtocolError) -> [Message] {
        try array(key).map { (value) throws(ControlProtocolError) in try Message(json: value) }
    }

    /// One of the raw values of `Choice`.
    func choice<Choice>(
        _ key: String, _ type: Choice.Type = Choice.self
    ) throws(ControlProtocolError) -> Choice where Choice: RawRepresentable & CaseIterable, Choice.RawValue == String {
        guard let choice = Choice(rawValue: try string(key)) else {
            let allowed = Choice.allCases.map(\.rawValue).joined(separator: ", ")
            throw .shape(key: key, expected: "one of: \(allowed)")
        }
        return choice
    }

    func optionalChoice<Choice>(
        _ key: String, _ type: Choice.Type = Choice.self
    ) throws(ControlProtocolError) -> Choice? where Choice: RawRepresentable & CaseIterable, Choice.RawValue == String {
        isNull(key) ? nil : try choice(key)
    }

    private func isNull(_ key: String) -> Bool { members[key] == nil || members[key] == .null }
}
