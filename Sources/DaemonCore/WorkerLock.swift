public import FlowEngine
import Synchronization

/// Keeps the engines of several workers apart where they meet.
public final class WorkerLock: SharedLock {
    private let mutex = Mutex(())

    public init() {}

    public func withLock(_ body: () -> Void) { mutex.withLock { _ in body() } }
}
