/// Why bytes are not a message of the control protocol.
public enum ControlProtocolError: Error, Sendable, Hashable, CustomStringConvertible {
    /// Not JSON (RFC 8259), or JSON beyond our limits; `offset` in bytes from the start.
    case syntax(String, offset: Int)
    /// JSON, but not this message: the member `key` is absent or not `expected`.
    case shape(key: String, expected: String)

    public var description: String {
        switch self {
        case .syntax(let what, let offset): "not valid JSON at byte \(offset): \(what)"
        case .shape(let key, let expected): "member \"\(key)\" must be \(expected)"
        }
    }
}
