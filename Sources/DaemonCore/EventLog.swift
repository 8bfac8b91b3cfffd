import FlowEngine
import Logging

/// Writes what happens to flows to the log, at most so many lines a second: strangers can cause some of them.
final class EventLog {
    private let logger: Logger
    private let limit: Int
    private var second: Int64 = 0
    private var lines = 0
    private var suppressed = 0
    /// The time in whole seconds; set by the loop.
    var now: Int64 = 0

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
        case .joinRefused(let tuple, let reason):
            write(.notice, "MPTCP join refused", tuple, reason.rawValue)
        case .aborted(let tuple, let reason):
            write(reason == .shutdown ? .debug : .warning, "connection aborted", tuple, reason.rawValue)
        }
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
        if now != second {
            if suppressed > 0 { logger.notice("\(suppressed) similar lines were not written") }
            second = now
            lines = 0
            suppressed = 0
        }
        lines += 1
        if lines > limit { suppressed += 1 }
        return lines <= limit
    }
}
