import Glibc
import Synchronization

/// A network namespace that lives as long as one thread: nothing to clean up.
enum ScratchNamespace {
    /// Wanted by the environment and possible.
    static let isEnabled =
        unsafe getenv("TCPCRYPT_ROOT_TESTS").map { unsafe String(cString: $0) } == "1" && geteuid() == 0

    struct Unavailable: Error {}

    /// Runs `body` on a thread of its own in a new namespace with the loopback up, and waits for it.
    static func run(_ body: @escaping @Sendable () throws -> Void) async throws {
        try await withCheckedThrowingContinuation { (continuation: CheckedContinuation<Void, any Error>) in
            var thread = pthread_t()
            let box = unsafe Unmanaged.passRetained(
                Box {
                    continuation.resume(
                        with: Result {
                            try enter()
                            try body()
                        })
                })
            unsafe pthread_create(
                &thread, nil,
                { argument in
                    if let argument = unsafe argument {
                        unsafe Unmanaged<Box>.fromOpaque(argument).takeRetainedValue().body()
                    }
                    return nil
                }, box.toOpaque())
            pthread_detach(thread)
        }
    }

    /// Children of this thread live in its namespace.
    static func shell(_ command: String) throws {
        guard unsafe system(command) == 0 else { throw Unavailable() }
    }

    private static func enter() throws {
        // Not among what Swift sees of glibc.
        guard let symbol = unsafe dlsym(nil, "unshare") else { throw Unavailable() }
        let unshare = unsafe unsafeBitCast(symbol, to: (@convention(c) (Int32) -> Int32).self)
        guard unshare(0x4000_0000) == 0 else { throw Unavailable() }
        try shell("ip link set lo up")
    }

    private final class Box: Sendable {
        let body: @Sendable () -> Void
        init(_ body: @escaping @Sendable () -> Void) { self.body = body }
    }
}
