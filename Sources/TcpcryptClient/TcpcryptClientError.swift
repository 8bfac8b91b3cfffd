import SystemPackage

/// Why the daemon gave no answer; each text says who is wrong and what to do.
public enum TcpcryptClientError: Error, Sendable, Hashable, CustomStringConvertible {
    /// Nobody listens at that path.
    case notRunning(path: String)
    /// The socket belongs to another user, commonly root.
    case notPermitted(path: String)
    /// No answer within the client's patience.
    case timeout(path: String)
    /// The daemon closed the connection before it answered.
    case disconnected(path: String)
    /// What answers there speaks something else, or is too old or too new.
    case malformed(path: String, reason: String)
    /// The daemon understood and refused; its own words.
    case refused(String)
    /// The path cannot be a Unix socket's: empty or longer than 107 bytes.
    case badPath(String)
    /// The operating system refused `step`.
    case system(step: String, code: Int32)

    public var description: String {
        switch self {
        case .notRunning(let path):
            "nobody listens on \(path): start tcpcryptd, or name the socket of a running one with --control"
        case .notPermitted(let path):
            "not permitted to open \(path): only the user of tcpcryptd may; try with sudo"
        case .timeout(let path):
            "tcpcryptd does not answer on \(path): it is stopped or overloaded; try again, or see its log"
        case .disconnected(let path):
            "tcpcryptd closed \(path) before it answered: see its log"
        case .malformed(let path, let reason):
            "what answers on \(path) is no tcpcryptd of this version: \(reason)"
        case .refused(let text):
            "tcpcryptd refused: \(text)"
        case .badPath(let path):
            "\"\(path)\" cannot be a socket: give a path of 1 to 107 bytes"
        case .system(let step, let code):
            "\(step): \(Errno(rawValue: code))"
        }
    }
}
