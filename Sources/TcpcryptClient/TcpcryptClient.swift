public import ControlProtocol

/// Asks the local `tcpcryptd` over its control socket.
///
/// Each call makes a connection of its own, so one client may be shared by any number of tasks. No call waits longer
/// than `patience` without progress.
public struct TcpcryptClient: Sendable {
    /// Of the control socket.
    public let path: String
    /// How long to wait for the daemon at each step.
    public let patience: Duration

    public init(_ path: String = ControlProtocol.defaultSocketPath, patience: Duration = .seconds(5)) {
        self.path = path
        self.patience = patience
    }

    public func status() async throws(TcpcryptClientError) -> StatusMessage {
        guard case .status(let message) = try await ask(.status) else { throw unexpected }
        return message
    }

    /// Every connection the daemon knows, plain ones included.
    public func connections() async throws(TcpcryptClientError) -> [ConnectionMessage] {
        guard case .connections(let messages) = try await ask(.connections) else { throw unexpected }
        return messages
    }

    /// Cached sessions, without their secrets.
    public func sessions() async throws(TcpcryptClientError) -> [SessionMessage] {
        guard case .sessions(let messages) = try await ask(.sessions) else { throw unexpected }
        return messages
    }

    /// Forgets cached sessions, so that the next connections make fresh keys.
    ///
    /// - Parameter peer: an address, or a prefix such as 192.0.2.0/24, of those to forget; nil for all.
    /// - Returns: how many there were.
    public func flushSessions(peer: String? = nil) async throws(TcpcryptClientError) -> Int {
        guard case .flushed(let count) = try await ask(.flushSessions(peer: peer)) else { throw unexpected }
        return count
    }

    /// Gives every encrypted connection new keys.
    /// - Returns: how many there are.
    public func rekey() async throws(TcpcryptClientError) -> Int {
        guard case .rekeying(let count) = try await ask(.rekey) else { throw unexpected }
        return count
    }

    public func counters() async throws(TcpcryptClientError) -> CountersMessage {
        guard case .counters(let message) = try await ask(.counters) else { throw unexpected }
        return message
    }

    /// The daemon's answer; never ``ControlProtocol/ControlResponse/error(_:)``, which is thrown.
    public func ask(_ request: ControlRequest) async throws(TcpcryptClientError) -> ControlResponse {
        let path = path
        let patience = patience
        let answer = try await onThread { () throws(TcpcryptClientError) in
            try ControlConnection(path: path, patience: patience).exchange(request.line)
        }
        let response: ControlResponse
        do throws(ControlProtocolError) {
            response = try ControlResponse(line: answer, limit: ControlProtocol.maximumResponseBytes)
        } catch {
            throw .malformed(path: path, reason: "\(error)")
        }
        if case .error(let text) = response { throw .refused(text) }
        return response
    }

    private var unexpected: TcpcryptClientError {
        .malformed(path: path, reason: "the answer belongs to another request")
    }
}
