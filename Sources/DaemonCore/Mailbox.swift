import NetfilterQueue
import Synchronization

/// Work for the packet loop from other threads. Once closed it refuses everything.
final class Mailbox: Sendable {
    /// Runs on the loop's thread.
    typealias Job = @Sendable (inout PacketLoop) -> Void

    let wakeUp: WakeUp
    private let jobs = Mutex<[Job]?>([])

    init() throws(SystemCallError) { wakeUp = try WakeUp() }

    /// - Returns: false when the loop has ended or is about to; the job will not run.
    func post(_ job: @escaping Job) -> Bool {
        let isOpen = jobs.withLock { jobs in
            jobs?.append(job)
            return jobs != nil
        }
        if isOpen { wakeUp.signal() }
        return isOpen
    }

    /// The jobs posted so far.
    func take() -> [Job] {
        wakeUp.clear()
        return jobs.withLock { jobs in
            let taken = jobs ?? []
            if jobs != nil { jobs = [] }
            return taken
        }
    }

    /// Refuses jobs from now on.
    /// - Returns: those that have not run.
    func close() -> [Job] {
        jobs.withLock { jobs in
            let taken = jobs ?? []
            jobs = nil
            return taken
        }
    }
}
