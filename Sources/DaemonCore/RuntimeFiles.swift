import FlowEngine
import Logging

/// What a daemon has in its directory, for all workers: the lock and the crash journal.
final class RuntimeFiles: Sendable {
    let journal: CrashJournal
    private let directory: RuntimeDirectory

    init(_ configuration: DaemonConfiguration, logger: Logger) throws(DaemonError) {
        do {
            directory = try RuntimeDirectory(path: try configuration.stateDirectory())
        } catch let error as RuntimeDirectoryError {
            throw .directory(error)
        } catch let error as DaemonError {
            throw error
        } catch {
            throw .stopped
        }
        let path = directory.journalPath
        do {
            journal = try CrashJournal(path: path, capacity: configuration.engine.maximumFlows + configuration.workers)
        } catch {
            throw .system(error)
        }
        if journal.damaged > 0 { logger.warning("\(journal.damaged) unreadable entries in \(path)") }
        if !journal.condemned.isEmpty {
            logger.notice("\(journal.condemned.count) encrypted flows of an earlier daemon will be reset")
        }
    }

    /// Nothing stays behind, unless flows are left that must be reset.
    func removeIfEmpty() {
        journal.deleteIfEmpty()
        directory.removeIfEmpty()
    }
}
