import Glibc
import Synchronization

/// Why something was not measured.
enum BenchError: Error, CustomStringConvertible {
    /// SIGINT or SIGTERM: everything ends.
    case interrupted
    /// This machine lacks what a row needs: the row says so.
    case unavailable(String)
    /// Something that is there did not do its work.
    case failed(String)

    var description: String {
        switch self {
        case .interrupted: "interrupted"
        case .unavailable(let reason): "not available: \(reason)"
        case .failed(let reason): "failed: \(reason)"
        }
    }
}

/// Signals only raise a flag, which every wait looks at: cleaning up is ordinary code.
enum Interruption {
    private static let flag = Atomic<Bool>(false)

    static var isAsked: Bool { flag.load(ordering: .relaxed) }

    static func install() {
        // Made before a handler could be the first to need it.
        flag.store(false, ordering: .relaxed)
        for number in [SIGINT, SIGTERM, SIGHUP] {
            signal(number) { _ in Interruption.flag.store(true, ordering: .relaxed) }
        }
    }

    static func check() throws(BenchError) {
        if isAsked { throw .interrupted }
    }

    /// Sleeps, but not through a signal.
    static func sleep(seconds: Double) throws(BenchError) {
        var left = seconds
        while left > 0 {
            try check()
            usleep(UInt32(min(left, 0.05) * 1e6))
            left -= 0.05
        }
    }
}
