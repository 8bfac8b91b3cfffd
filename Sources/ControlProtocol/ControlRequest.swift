/// What a client asks: `{"request":"status"}`.
public enum ControlRequest: String, CaseIterable, ControlMessage {
    case status
    case connections
    case sessions
    /// Forget every cached session: the next connections make fresh keys. Connections that exist go on.
    case flushSessions = "flush-sessions"
    /// New keys for every encrypted connection.
    case rekey
    case counters

    public var json: JSONValue { ["request": .string(rawValue)] }

    public init(json: JSONValue) throws(ControlProtocolError) {
        self = try ObjectReader(json, "request").choice("request")
    }
}
