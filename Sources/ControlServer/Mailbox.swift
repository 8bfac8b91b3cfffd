import Synchronization
import SystemPackage

/// What other threads tell the server's thread.
final class Mailbox: Sendable {
    struct Reply: Sendable {
        var client: UInt64
        var line: [UInt8]
    }

    private struct State {
        var stopped = false
        var replies: [Reply] = []
    }

    /// Readable while there is news.
    let wakeup: FileDescriptor
    private let bell: FileDescriptor
    private let state = Mutex(State())

    init?() {
        guard let pair = SystemCalls.socketPair() else { return nil }
        (wakeup, bell) = pair
    }

    deinit {
        SystemCalls.close(wakeup)
        SystemCalls.close(bell)
    }

    func stop() {
        state.withLock { $0.stopped = true }
        ring()
    }

    func post(_ reply: Reply) {
        state.withLock { $0.replies.append(reply) }
        ring()
    }

    /// Everything since the last call.
    func collect() -> (stopped: Bool, replies: [Reply]) {
        var rings: [UInt8] = []
        _ = SystemCalls.read(wakeup, into: &rings, limit: 256)
        return state.withLock { state in
            let replies = state.replies
            state.replies = []
            return (state.stopped, replies)
        }
    }

    /// A bell that is full already rings anyway.
    private func ring() { _ = SystemCalls.send(bell, [1], from: 0) }
}
