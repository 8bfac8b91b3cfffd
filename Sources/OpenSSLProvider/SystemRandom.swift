import CCrypto
import Glibc
public import Tcpcrypt

/// libcrypto's generator, seeded by the kernel.
public final class SystemRandom: RandomSource, Sendable {
    public init() {}

    /// Whether the kernel's generator is seeded, as it may not be just after the system has started. Never waits.
    public static var isSeeded: Bool {
        var byte: UInt8 = 0
        while true {
            if unsafe getrandom(&byte, 1, UInt32(GRND_NONBLOCK)) == 1 { return true }
            if errno != EINTR { return false }
        }
    }

    /// Mixes fresh randomness of the kernel in, which knows of snapshots before anybody else: copies of this process draw other bytes then.
    public static func renew() {
        guard RAND_poll() == 1 else { preconditionFailure("libcrypto has no random bytes") }
    }

    /// Stops the program where there is no randomness: RFC 8547 forbids going on, and so does every nonce.
    public func bytes(_ count: Int) -> [UInt8] {
        var result = [UInt8](repeating: 0, count: max(0, count))
        guard let length = Int32(exactly: result.count), unsafe RAND_bytes(&result, length) == 1 else {
            preconditionFailure("libcrypto has no random bytes")
        }
        return result
    }
}
