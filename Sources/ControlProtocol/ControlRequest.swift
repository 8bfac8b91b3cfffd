/// What a client asks: `{"request":"status"}`, or `{"request":"flush-sessions","peer":"192.0.2.0/24"}`.
public enum ControlRequest: ControlMessage {
    case status
    case connections
    case sessions
    /// Forget the cached sessions with a peer of that address or prefix, or all: the next connections make fresh keys. Connections that
    /// exist go on.
    case flushSessions(peer: String? = nil)
    /// New keys for every encrypted connection.
    case rekey
    case counters

    /// Bytes of text, more than any address or prefix has.
    private static let longestPeer = 64

    /// What is asked, without the particulars.
    public enum Verb: String, CaseIterable, Sendable {
        case status
        case connections
        case sessions
        case flushSessions = "flush-sessions"
        case rekey
        case counters
    }

    public var verb: Verb {
        switch self {
        case .status: .status
        case .connections: .connections
        case .sessions: .sessions
        case .flushSessions: .flushSessions
        case .rekey: .rekey
        case .counters: .counters
        }
    }

    public var json: JSONValue {
        var members = [JSONMember("request", .string(verb.rawValue))]
        if case .flushSessions(let peer?) = self { members.append(JSONMember("peer", .string(peer))) }
        return .object(members)
    }

    public init(json: JSONValue) throws(ControlProtocolError) {
        let reader = try ObjectReader(json, "request")
        let verb: Verb = try reader.choice("request")
        switch verb {
        case .status: self = .status
        case .connections: self = .connections
        case .sessions: self = .sessions
        case .flushSessions:
            let peer = try reader.optionalString("peer")
            guard peer.map({ $0.utf8.count <= Self.longestPeer }) ?? true else {
                throw .shape(key: "peer", expected: "an address or a prefix")
            }
            self = .flushSessions(peer: peer)
        case .rekey: self = .rekey
        case .counters: self = .counters
        }
    }
}
