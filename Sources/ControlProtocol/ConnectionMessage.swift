/// One connection: an MPTCP connection with its subflows, or a plain TCP connection as its only subflow.
public struct ConnectionMessage: ControlMessage {
    public enum Kind: String, Sendable, Hashable, CaseIterable { case mptcp, tcp }

    public var kind: Kind
    /// MPTCP tokens (RFC 8684 section 3.2) as numbers; in JSON eight hexadecimal digits as `ss -Mi` shows them,
    /// null where unknown and for plain TCP.
    public var localToken: UInt32?
    public var remoteToken: UInt32?
    public var subflows: [SubflowMessage]

    public init(kind: Kind, localToken: UInt32?, remoteToken: UInt32?, subflows: [SubflowMessage]) {
        self.kind = kind
        self.localToken = localToken
        self.remoteToken = remoteToken
        self.subflows = subflows
    }

    public var json: JSONValue {
        [
            "kind": .string(kind.rawValue),
            "local_token": .text(localToken.map(Self.hexadecimal)),
            "remote_token": .text(remoteToken.map(Self.hexadecimal)),
            "subflows": .array(subflows.map(\.json)),
        ]
    }

    public init(json: JSONValue) throws(ControlProtocolError) {
        let reader = try ObjectReader(json, "connection")
        kind = try reader.choice("kind")
        localToken = try Self.token("local_token", reader)
        remoteToken = try Self.token("remote_token", reader)
        subflows = try reader.messages("subflows")
    }

    /// A token as eight lower-case hexadecimal digits.
    public static func hexadecimal(_ token: UInt32) -> String {
        let digits = String(token, radix: 16)
        return String(repeating: "0", count: max(0, 8 - digits.count)) + digits
    }

    private static func token(_ key: String, _ reader: ObjectReader) throws(ControlProtocolError) -> UInt32? {
        guard let text = try reader.optionalString(key) else { return nil }
        guard text.utf8.count == 8, let token = UInt32(text, radix: 16) else {
            throw .shape(key: key, expected: "eight hexadecimal digits or null")
        }
        return token
    }
}
