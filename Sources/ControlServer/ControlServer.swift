public import ControlProtocol
public import Logging

/// Serves the control socket (``ControlProtocol/ControlProtocol``) from a thread of its own.
///
/// The socket is mode 0600: only the daemon's user may ask. At most 16 clients at once, 4096 bytes a request, and so
/// much time for each step; what a client does never delays another client or the caller.
public struct ControlServer: Sendable {
    private let path: String
    private let patience: Duration
    private let handlerPatience: Duration
    private let logger: Logger
    private let handler: @Sendable (ControlRequest) async -> ControlResponse

    /// - Parameters:
    ///   - path: of the socket; the last directory of it is made (mode 0700) if need be.
    ///   - patience: how long a client may take to send a request or to take in more of the answer.
    ///   - handlerPatience: how long the handler may take to answer.
    ///   - handler: answers one request; called concurrently, cancelled when its client leaves or patience ends.
    public init(
        path: String, logger: Logger, patience: Duration = .seconds(5), handlerPatience: Duration = .seconds(5),
        handler: @escaping @Sendable (ControlRequest) async -> ControlResponse
    ) {
        self.path = path
        self.patience = patience
        self.handlerPatience = handlerPatience
        self.logger = logger
        self.handler = handler
    }

    /// Serves until the task is cancelled, then removes the socket and returns.
    /// - Throws: ``ControlServerError`` where the socket cannot be made.
    public func run() async throws {
        let file = try SocketFile(listeningOn: path)
        defer { file.remove() }
        guard let mailbox = Mailbox() else { throw ControlServerError.last("socketpair", path) }
        logger.debug("control socket open", metadata: ["path": "\(path)"])
        let code = await withTaskCancellationHandler {
            await withCheckedContinuation { (continuation: CheckedContinuation<Int32, Never>) in
                let code = SystemCalls.startThread { [patience, handlerPatience, logger, handler] in
                    var loop = ServerLoop(
                        listener: file.listener, mailbox: mailbox, patience: patience,
                        handlerPatience: handlerPatience, logger: logger, handler: handler)
                    loop.run()
                    continuation.resume(returning: 0)
                }
                if code != 0 { continuation.resume(returning: code) }
            }
        } onCancel: {
            mailbox.stop()
        }
        if code != 0 { throw ControlServerError.system(step: "thread", path: path, code: code) }
    }
}
