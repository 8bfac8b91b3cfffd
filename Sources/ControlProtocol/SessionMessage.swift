/// A cached session (RFC 8548 section 3.5), never its secret.
public struct SessionMessage: ControlMessage {
    public var tep: String
    public var aead: String
    /// The role this host had when the session was made.
    public var role: SubflowMessage.Role
    /// The lowest index not used yet.
    public var nextIndex: Int
    /// Addresses known to be the same peer's.
    public var peers: [String]
    public var ageMilliseconds: Int

    public init(
        tep: String, aead: String, role: SubflowMessage.Role, nextIndex: Int, peers: [String], ageMilliseconds: Int
    ) {
        self.tep = tep
        self.aead = aead
        self.role = role
        self.nextIndex = nextIndex
        self.peers = peers
        self.ageMilliseconds = ageMilliseconds
    }

    public var json: JSONValue {
        [
            "tep": .string(tep),
            "aead": .string(aead),
            "role": .string(role.rawValue),
            "next_index": .integer(nextIndex),
            "peers": .strings(peers),
            "age_ms": .integer(ageMilliseconds),
        ]
    }

    public init(json: JSONValue) throws(ControlProtocolError) {
        let reader = try ObjectReader(json, "session")
        tep = try reader.string("tep")
        aead = try reader.string("aead")
        role = try reader.choice("role")
        nextIndex = try reader.integer("next_index")
        peers = try reader.strings("peers")
        ageMilliseconds = try reader.integer("age_ms")
    }
}
