import SystemPackage

/// Why the control socket cannot be served.
public enum ControlServerError: Error, Sendable, Hashable, CustomStringConvertible {
    /// Longer than the 107 bytes of a Unix socket address.
    case pathTooLong(String)
    /// Something that is not a socket has that name.
    case notASocket(String)
    /// Another process answers on it, or is just about to.
    case inUse(String)
    /// The operating system refused `step`.
    case system(step: String, path: String, code: Int32)

    public var description: String {
        switch self {
        case .pathTooLong(let path):
            "control socket \(path): the path is too long; choose one of at most 107 bytes"
        case .notASocket(let path):
            "control socket \(path): exists and is not a socket; remove it or choose another path"
        case .inUse(let path):
            "control socket \(path): another daemon answers on it; stop that one or choose another path"
        case .system(let step, let path, let code):
            "control socket \(path): \(step): \(Errno(rawValue: code))"
        }
    }
}
