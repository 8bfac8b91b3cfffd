import Logging
import NetfilterQueue

/// A thread with a packet loop of its own. It never waits for another one.
final class Worker: Sendable {
    let index: Int
    private let mailbox: Mailbox
    private let ended = Latch()
    private let logger: Logger

    init(index: Int, logger: Logger) throws(DaemonError) {
        self.index = index
        self.logger = logger
        do { mailbox = try Mailbox() } catch { throw .system(error) }
    }

    /// Starts the thread and returns when it serves the queues.
    ///
    /// - Parameters:
    ///   - makeLoop: runs on the thread.
    ///   - failed: what ended the loop later, after the worker's encrypted flows were reset.
    func start(
        _ makeLoop: @escaping @Sendable (Worker, Mailbox) throws(DaemonError) -> PacketLoop,
        failed: @escaping @Sendable (DaemonError) -> Void
    ) async throws {
        try await withCheckedThrowingContinuation { (ready: CheckedContinuation<Void, any Error>) in
            let isStarted = LoopThread.start {
                do throws(DaemonError) {
                    let loop = try makeLoop(self, self.mailbox)
                    ready.resume()
                    if let failure = self.serve(loop) { failed(failure) }
                } catch {
                    _ = self.mailbox.close()
                    ready.resume(throwing: error)
                }
                self.ended.open(.success(()))
            }
            if !isStarted { ready.resume(throwing: DaemonError.noThread) }
        }
    }

    /// Runs the loop to its end; the queues are closed on return.
    private func serve(_ loop: consuming PacketLoop) -> DaemonError? {
        var failure: DaemonError?
        do {
            try loop.run()
        } catch {
            logger.critical("the packet queue failed: \(error)")
            failure = .system(error)
            loop.shutDown()
            loop.destroyRemaining()
        }
        loop.closeMailbox()
        return failure
    }

    /// Runs `body` on the worker's thread.
    func ask<Answer: Sendable>(_ body: @escaping @Sendable (inout PacketLoop) -> Answer) async throws -> Answer {
        try await withCheckedThrowingContinuation { continuation in
            let isPosted = mailbox.post { loop in continuation.resume(returning: body(&loop)) }
            if !isPosted { continuation.resume(throwing: DaemonError.stopped) }
        }
    }

    /// Ends the loop of a worker that was started, and returns when its queues are closed.
    func end() async {
        try? await ask { loop in loop.end() }
        try? await ended.wait()
    }
}
