/// One TCP connection as the local host names it.
public struct SubflowMessage: ControlMessage {
    public enum State: String, Sendable, Hashable, CaseIterable { case handshake, encrypted, plain }

    /// How the keys came about.
    public enum Origin: String, Sendable, Hashable, CaseIterable { case fresh, resumed, join }

    /// The role by TCP-ENO (RFC 8547 section 4.3).
    public enum Role: String, Sendable, Hashable, CaseIterable {
        case a = "A"
        case b = "B"
    }

    /// `192.0.2.1:80` or `[2001:db8::1]:80`.
    public var local: String
    public var remote: String
    public var state: State
    public var origin: Origin?
    /// Names of the TEP and the AEAD in use.
    public var tep: String?
    public var aead: String?
    public var role: Role?
    /// Whether the peer says that its application knows of TCP-ENO: bit a (RFC 8547 section 4.2). Of a join nothing is known.
    public var peerApplicationAware: Bool?
    /// The session ID (RFC 8548 section 3.4) in lower-case hexadecimal.
    public var sessionID: String?
    /// The index i of the session secret ss[i] in use.
    public var secretIndex: Int?
    /// The generation numbers of the keys (RFC 8548 section 3.8).
    public var localGeneration: Int?
    public var remoteGeneration: Int?
    /// Bytes of the application.
    public var plainBytesIn: UInt64 = 0
    public var plainBytesOut: UInt64 = 0
    /// Bytes of TCP payload on the wire.
    public var wireBytesIn: UInt64 = 0
    public var wireBytesOut: UInt64 = 0
    /// Frames that did not authenticate.
    public var authFailures: UInt64 = 0
    /// Why the subflow is plain.
    public var reason: String?

    /// A subflow of which only this is known; set the rest.
    public init(local: String, remote: String, state: State) {
        self.local = local
        self.remote = remote
        self.state = state
    }

    public var json: JSONValue {
        [
            "local": .string(local),
            "remote": .string(remote),
            "state": .string(state.rawValue),
            "origin": .text(origin?.rawValue),
            "tep": .text(tep),
            "aead": .text(aead),
            "role": .text(role?.rawValue),
            "peer_application_aware": peerApplicationAware.map { .bool($0) } ?? .null,
            "session_id": .text(sessionID),
            "secret_index": secretIndex.map { .integer($0) } ?? .null,
            "local_generation": localGeneration.map { .integer($0) } ?? .null,
            "remote_generation": remoteGeneration.map { .integer($0) } ?? .null,
            "plain_bytes_in": .count(plainBytesIn),
            "plain_bytes_out": .count(plainBytesOut),
            "wire_bytes_in": .count(wireBytesIn),
            "wire_bytes_out": .count(wireBytesOut),
            "auth_failures": .count(authFailures),
            "reason": .text(reason),
        ]
    }

    public init(json: JSONValue) throws(ControlProtocolError) {
        let reader = try ObjectReader(json, "subflow")
        local = try reader.string("local")
        remote = try reader.string("remote")
        state = try reader.choice("state")
        origin = try reader.optionalChoice("origin")
        tep = try reader.optionalString("tep")
        aead = try reader.optionalString("aead")
        role = try reader.optionalChoice("role")
        peerApplicationAware = try reader.optionalBool("peer_application_aware")
        sessionID = try reader.optionalString("session_id")
        secretIndex = try reader.optionalInteger("secret_index")
        localGeneration = try reader.optionalInteger("local_generation")
        remoteGeneration = try reader.optionalInteger("remote_generation")
        plainBytesIn = try reader.count("plain_bytes_in")
        plainBytesOut = try reader.count("plain_bytes_out")
        wireBytesIn = try reader.count("wire_bytes_in")
        wireBytesOut = try reader.count("wire_bytes_out")
        authFailures = try reader.count("auth_failures")
        reason = try reader.optionalString("reason")
    }

    /// Bytes as lower-case hexadecimal; `nil` for none, as the engine reports an unknown session ID.
    public static func hexadecimal(_ bytes: [UInt8]) -> String? {
        let digits = bytes.map { ($0 < 16 ? "0" : "") + String($0, radix: 16) }
        return digits.isEmpty ? nil : digits.joined()
    }
}
