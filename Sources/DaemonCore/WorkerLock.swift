public import FlowEngine
import Glibc

/// Keeps the engines of several workers apart where they meet.
///
/// Not `Mutex`, whose lock on Linux is handed from thread to thread in order (a futex with priority inheritance): each handshake would
/// cost a change of threads.
@safe public final class WorkerLock: SharedLock, @unchecked Sendable {
    private let mutex: UnsafeMutablePointer<pthread_mutex_t>

    public init() {
        unsafe mutex = .allocate(capacity: 1)
        unsafe mutex.initialize(to: pthread_mutex_t())
        unsafe pthread_mutex_init(mutex, nil)
    }

    deinit {
        unsafe pthread_mutex_destroy(mutex)
        unsafe mutex.deallocate()
    }

    public func withLock(_ body: () -> Void) {
        unsafe pthread_mutex_lock(mutex)
        body()
        unsafe pthread_mutex_unlock(mutex)
    }

    public func withoutLock(_ body: () -> Void) {
        unsafe pthread_mutex_unlock(mutex)
        body()
        unsafe pthread_mutex_lock(mutex)
    }
}
