/// The control socket: a stream socket on which each message is one JSON object on one line, ended by a line feed.
///
/// A client sends a ``ControlRequest`` and reads a ``ControlResponse``, as often as it likes.
public enum ControlProtocol {
    /// Of the daemon and its tools, which are released together.
    public static let productVersion = "0.1.0"

    /// Where the daemon listens unless told otherwise. Daemons in different network namespaces that share `/run`
    /// each need a path of their own.
    public static let defaultSocketPath = "/run/tcpcryptd/control.sock"

    /// The most bytes of a request line, its line feed not counted.
    public static let maximumRequestBytes = 4096

    /// The most bytes of a response line that a client reads: some hundred bytes for each of 65,536 flows.
    public static let maximumResponseBytes = 64 << 20
}

/// A message, or a part of one, and its JSON form.
public protocol ControlMessage: Sendable, Hashable {
    var json: JSONValue { get }

    /// - Throws: ``ControlProtocolError/shape(key:expected:)``; members it does not know are ignored.
    init(json: JSONValue) throws(ControlProtocolError)
}

extension ControlMessage {
    /// The message as a line of JSON in UTF-8, its line feed included.
    public var line: [UInt8] { json.utf8 + [0x0A] }

    /// - Parameters:
    ///   - line: one line without its line feed.
    ///   - limit: the most bytes accepted.
    public init(line: [UInt8], limit: Int) throws(ControlProtocolError) {
        try self.init(json: JSONValue(parsing: line, limit: limit))
    }
}
