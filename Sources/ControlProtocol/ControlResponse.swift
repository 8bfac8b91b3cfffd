/// What the daemon answers: `{"response":KIND,"KIND":...}`, or `{"response":"error","error":TEXT}`.
public enum ControlResponse: ControlMessage {
    case status(StatusMessage)
    case connections([ConnectionMessage])
    case sessions([SessionMessage])
    /// How many sessions were forgotten.
    case flushed(Int)
    /// How many connections are given new keys.
    case rekeying(Int)
    case counters(CountersMessage)
    /// The request failed; the text is for the person who asked.
    case error(String)

    private enum Kind: String, CaseIterable { case status, connections, sessions, flushed, rekeying, counters, error }

    private var kind: Kind {
        switch self {
        case .status: .status
        case .connections: .connections
        case .sessions: .sessions
        case .flushed: .flushed
        case .rekeying: .rekeying
        case .counters: .counters
        case .error: .error
        }
    }

    /// The answer alone, as `tcpcryptctl --json` prints it.
    public var payload: JSONValue {
        switch self {
        case .status(let message): message.json
        case .connections(let messages): .array(messages.map(\.json))
        case .sessions(let messages): .array(messages.map(\.json))
        case .flushed(let count), .rekeying(let count): .integer(count)
        case .counters(let message): message.json
        case .error(let text): .string(text)
        }
    }

    public var json: JSONValue {
        .object([JSONMember("response", .string(kind.rawValue)), JSONMember(kind.rawValue, payload)])
    }

    public init(json: JSONValue) throws(ControlProtocolError) {
        let reader = try ObjectReader(json, "response")
        let kind: Kind = try reader.choice("response")
        let key = kind.rawValue
        switch kind {
        case .status: self = .status(try StatusMessage(json: reader.value(key)))
        case .connections: self = .connections(try reader.messages(key))
        case .sessions: self = .sessions(try reader.messages(key))
        case .flushed: self = .flushed(try reader.integer(key))
        case .rekeying: self = .rekeying(try reader.integer(key))
        case .counters: self = .counters(try CountersMessage(json: reader.value(key)))
        case .error: self = .error(try reader.string(key))
        }
    }
}
