import CNetfilterQueue
import Glibc

/// Wakes a thread that waits in ``Poller``. Signalling is safe from any thread.
public final class WakeUp: Sendable {
    private let descriptor: Descriptor
    public var fileDescriptor: Int32 { descriptor.rawValue }

    public init() throws(SystemCallError) {
        let flags = Int32(EFD_CLOEXEC) | Int32(EFD_NONBLOCK)
        descriptor = try Descriptor(owning: eventfd(0, flags), "eventfd")
    }

    public func signal() {
        // A full counter (EAGAIN) wakes as well.
        _ = eventfd_write(descriptor.rawValue, 1)
    }

    /// Forgets the signals so far.
    public func clear() {
        var value: UInt64 = 0
        _ = unsafe eventfd_read(descriptor.rawValue, &value)
    }
}

/// Waits for descriptors to become readable.
public struct Poller: Sendable {
    private var entries: [pollfd]

    public init(_ fileDescriptors: [Int32]) {
        entries = fileDescriptors.map { pollfd(fd: $0, events: Int16(POLLIN), revents: 0) }
    }

    /// Waits until one is readable (or failed), or so many nanoseconds passed; nil waits for ever. A signal ends it early.
    public mutating func wait(nanoseconds: Int64?) {
        let limit = nanoseconds.map {
            timespec(tv_sec: Int(max(0, $0) / 1_000_000_000), tv_nsec: Int(max(0, $0) % 1_000_000_000))
        }
        let ready =
            if var limit {
                unsafe ppoll(&entries, nfds_t(entries.count), &limit, nil)
            } else {
                unsafe ppoll(&entries, nfds_t(entries.count), nil, nil)
            }
        if ready < 0 { for index in entries.indices { entries[index].revents = 0 } }
    }

    /// Whether the descriptor at `index` had something to read, or an error to fetch, after the last wait.
    public func isReady(_ index: Int) -> Bool { entries.indices.contains(index) && entries[index].revents != 0 }
}

/// The clock that timers run on.
public enum MonotonicClock {
    /// Nanoseconds of CLOCK_MONOTONIC.
    public static func nanoseconds() -> Int64 {
        var time = timespec()
        unsafe clock_gettime(CLOCK_MONOTONIC, &time)
        return Int64(time.tv_sec) * 1_000_000_000 + Int64(time.tv_nsec)
    }
}
