import FlowEngine
import Logging
import NetfilterQueue
import Synchronization

/// Writes what happens to flows to the log, at most so many lines a second of all workers: strangers can cause some of them.
final class EventLog: Sendable {
    private struct Rate {
        var second: Int64 = 0
        var lines = 0
        var suppressed = 0
    }

    private let logger: Logger
    private let limit: Int
    private let rate = Mutex(Rate())
    private let refusedJoins = Mutex(RefusedJoins())

    init(logger: Logger, linesPerSecond: Int = 50) {
        self.logger = logger
        limit = linesPerSecond
    }

    func log(_ event: EngineEvent) {
        switch event {
        case .encrypted(let tuple, let origin):
            write(.debug, "encrypted", tuple, "\(origin.rawValue)")
        case .fellBack(let tuple, let reason):
            write(.debug, "not encrypted", tuple, reason.rawValue)
        case .joinRefused(let tuple, let reason, let token):
            let now = Instant(nanoseconds: MonotonicClock.nanoseconds())
            write(refusedJoins.withLock { $0.note(tuple, reason, token: token, now: now) })
        case .refused(let tuple, let reason):
            write(.notice, "refused, for encryption is required", tuple, reason.rawValue)
        case .aborted(let tuple, let reason):
            write(reason.isOfAll ? .debug : .warning, "connection aborted", tuple, reason.rawValue)
        }
    }

    /// Refused joins that are to be summed up by now; to be called every few seconds, and once in the end.
    func sumUpRefusedJoins(isLast: Bool = false) {
        let now = Instant(nanoseconds: MonotonicClock.nanoseconds())
        write(refusedJoins.withLock { $0.sumUp(now: now, isLast: isLast) })
    }

    private func write(_ lines: [String]) {
        for line in lines { logger.notice("\(line)") }
    }

    func machineCopied(_ connections: Int) {
        logger.warning(
            "this machine went on from a snapshot: \(connections) encrypted connections end, all session secrets are erased"
        )
    }

    func journalFull(_ tuple: FlowTuple) {
        write(.error, "crash journal full", tuple, "would not be reset after a crash")
    }

    /// A failure that concerns one packet or socket.
    func failure(_ what: String) {
        guard isAllowed(.debug) else { return }
        logger.debug("\(what)")
    }

    private func write(_ level: Logger.Level, _ what: String, _ tuple: FlowTuple, _ why: String) {
        guard isAllowed(level) else { return }
        logger.log(level: level, "\(what): \(tuple.local) - \(tuple.remote): \(why)")
    }

    private func isAllowed(_ level: Logger.Level) -> Bool {
        guard level >= logger.logLevel else { return false }
        let second = MonotonicClock.nanoseconds() / 1_000_000_000
        let (isAllowed, missing) = rate.withLock { rate in
            var missing = 0
            if second != rate.second {
                missing = rate.suppressed
                rate = Rate(second: second)
            }
            rate.lines += 1
            if rate.lines > limit { rate.suppressed += 1 }
            return (rate.lines <= limit, missing)
        }
        if missing > 0 { logger.notice("\(missing) similar lines were not written") }
        return isAllowed
    }
}
