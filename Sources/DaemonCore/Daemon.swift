public import FlowEngine
public import Logging
import NetfilterQueue
import Synchronization

/// Why the daemon cannot start or go on. The text says what to do where something can be done.
public enum DaemonError: Error, Sendable, CustomStringConvertible {
    case queue(QueueError)
    case directory(RuntimeDirectoryError)
    case system(SystemCallError)
    case steering(String)
    case noThread
    /// The packet loop has ended.
    case stopped

    public var description: String {
        switch self {
        case .queue(let error): error.description
        case .directory(let error): error.description
        case .system(let error): error.description
        case .steering(let text): "firewall rules: \(text)"
        case .noThread: "the system has no thread for the packet loop (limit of processes reached?)"
        case .stopped: "the packet loop has ended"
        }
    }
}

/// tcpcryptd without its command line: starts and stops the packet loop in the right order and asks it questions.
public final class Daemon: Sendable {
    public let configuration: DaemonConfiguration
    let started = MonotonicClock.nanoseconds()

    private let makeEngine: @Sendable () -> Engine
    private let steering: any Steering
    private let logger: Logger
    private let mailbox: Mailbox
    private let stopping = Mutex<Task<Void, Never>?>(nil)
    private let ended = Latch()

    /// - Parameter makeEngine: runs on the loop's thread, which keeps the engine.
    public init(
        configuration: DaemonConfiguration, steering: any Steering, logger: Logger,
        makeEngine: @escaping @Sendable () -> Engine
    ) throws(DaemonError) {
        self.configuration = configuration
        self.steering = steering
        self.logger = logger
        self.makeEngine = makeEngine
        do { mailbox = try Mailbox() } catch { throw .system(error) }
    }

    /// Binds the queues, takes over what an earlier daemon left, and only then installs the rules.
    ///
    /// On a throw everything done so far is undone.
    public func start() async throws {
        try await startLoop()
        do {
            let survey = try Self.survey()
            try await ask { loop in loop.adopt(survey) }
            do { try steering.install() } catch { throw DaemonError.steering("\(error)") }
        } catch {
            try? await ask { loop in loop.destroyRemaining() }
            removeRules()
            try? await ask { loop in loop.end() }
            throw error
        }
    }

    /// Returns when the loop has ended after ``stop()``.
    /// - Throws: what ended it otherwise, after all encrypted flows were reset. ``stop()`` then removes the rules.
    public func waitForEnd() async throws {
        try await ended.wait()
    }

    /// Resets encrypted flows, waits until the resets have left, removes the rules, then closes the queues.
    ///
    /// Goes to its end even where the caller's task is cancelled; a second call waits for the first.
    public func stop() async {
        let task = stopping.withLock { stopping in
            let task = stopping ?? Task { await self.stopNow() }
            stopping = task
            return task
        }
        await task.value
    }

    private func stopNow() async {
        try? await ask { loop in loop.shutDown() }
        try? await Task.sleep(for: .milliseconds(min(300, max(0, configuration.graceMilliseconds))))
        // Once more for handshakes that completed meanwhile.
        try? await ask { loop in
            loop.shutDown()
            loop.destroyRemaining()
        }
        removeRules()
        try? await ask { loop in loop.end() }
        try? await waitForEnd()
    }

    /// Compares flows and sockets every ten seconds; ends when its task is cancelled or the loop is gone.
    public func keepHouse() async {
        while (try? await Task.sleep(for: .seconds(10))) != nil {
            do {
                let survey = try Self.survey()
                try await ask { loop in loop.reconcile(survey) }
            } catch DaemonError.stopped {
                return
            } catch {
                logger.warning("cannot list sockets: \(error)")
            }
        }
    }

    /// Runs `body` on the loop's thread.
    func ask<Answer: Sendable>(_ body: @escaping @Sendable (inout PacketLoop) -> Answer) async throws -> Answer {
        try await withCheckedThrowingContinuation { continuation in
            let isPosted = mailbox.post { loop in continuation.resume(returning: body(&loop)) }
            if !isPosted { continuation.resume(throwing: DaemonError.stopped) }
        }
    }

    private func removeRules() {
        do { try steering.remove() } catch { logger.error("cannot remove the firewall rules: \(error)") }
    }

    private static func survey() throws(DaemonError) -> SocketSurvey {
        do { return SocketSurvey(sockets: try SocketDiagnostics().list()) } catch { throw .system(error) }
    }
}

// MARK: - The loop's thread

extension Daemon {
    /// Starts the thread and returns when it serves the queues.
    private func startLoop() async throws {
        try await withCheckedThrowingContinuation { (continuation: CheckedContinuation<Void, any Error>) in
            let isStarted = LoopThread.start { self.runLoop(ready: continuation) }
            if !isStarted { continuation.resume(throwing: DaemonError.noThread) }
        }
    }

    private func runLoop(ready: CheckedContinuation<Void, any Error>) {
        do {
            let directory = try makeDirectory(configuration.stateDirectory())
            let journal = try makeJournal(directory.journalPath)
            let failure = serve(try makeLoop(journal), ready: ready)
            journal.deleteIfEmpty()
            directory.removeIfEmpty()
            // Last: whoever waits may end the process at once.
            ended.open(failure.map { .failure($0) } ?? .success(()))
        } catch {
            _ = mailbox.close()
            ready.resume(throwing: error)
            ended.open(.failure(error))
        }
    }

    /// Runs the loop to its end; the queues are closed on return.
    private func serve(_ loop: consuming PacketLoop, ready: CheckedContinuation<Void, any Error>) -> DaemonError? {
        ready.resume()
        var failure: DaemonError?
        do {
            try loop.run()
        } catch {
            logger.critical("the packet queue failed: \(error)")
            failure = .system(error)
            loop.shutDown()
            loop.destroyRemaining()
        }
        loop.closeMailbox()
        return failure
    }

    private func makeDirectory(_ path: String) throws(DaemonError) -> RuntimeDirectory {
        do {
            return try RuntimeDirectory(path: path)
        } catch {
            throw .directory(error)
        }
    }

    private func makeJournal(_ path: String) throws(DaemonError) -> CrashJournal {
        do {
            let journal = try CrashJournal(path: path, capacity: configuration.engine.maximumFlows)
            if journal.damaged > 0 { logger.warning("\(journal.damaged) unreadable entries in \(path)") }
            if !journal.condemned.isEmpty {
                logger.notice("\(journal.condemned.count) encrypted flows of an earlier daemon will be reset")
            }
            return journal
        } catch {
            throw .system(error)
        }
    }

    private func makeLoop(_ journal: CrashJournal) throws(DaemonError) -> PacketLoop {
        do {
            let events = EventLog(logger: logger)
            let kernel = LiveKernel(
                main: try QueueSocket(queue: configuration.mainQueue, overload: .drop),
                strangers: try QueueSocket(queue: configuration.strangerQueue, overload: .drop, maximumLength: 8_192),
                syn: try QueueSocket(queue: configuration.synQueue, overload: .accept),
                injector: try PacketInjector(groupID: configuration.injectGroup), sockets: try SocketDiagnostics(),
                events: events)
            let executor = ActionExecutor(
                kernel: kernel, journal: journal, events: events, marks: configuration.marks)
            return PacketLoop(
                engine: makeEngine(), executor: executor, interfaces: try InterfaceTable(), routes: try RouteTable(),
                mailbox: mailbox)
        } catch let error as QueueError {
            throw .queue(error)
        } catch let error as SystemCallError {
            throw .system(error)
        } catch {
            throw .stopped
        }
    }
}
