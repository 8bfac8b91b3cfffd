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
    /// The packet loops have ended.
    case stopped

    public var description: String {
        switch self {
        case .queue(let error): error.description
        case .directory(let error): error.description
        case .system(let error): error.description
        case .steering(let text): "firewall rules: \(text)"
        case .noThread: "the system has no thread for a packet loop (limit of processes reached?)"
        case .stopped: "the packet loops have ended"
        }
    }
}

/// tcpcryptd without its command line: starts and stops the workers in the right order and asks them questions.
///
/// Every packet of a connection, either way, comes to the same worker, which alone knows it. What one of them cannot go on without, such as
/// a queue, ends all of them.
public final class Daemon: Sendable {
    public let configuration: DaemonConfiguration
    let started = MonotonicClock.nanoseconds()
    let keyLog: KeyLogFile?

    private let makeEngine: @Sendable (_ worker: Int) -> Engine
    private let renewRandomness: @Sendable () -> Void
    private let steering: any Steering
    private let logger: Logger
    private let events: EventLog
    private let workers: [Worker]
    private let files = Mutex<RuntimeFiles?>(nil)
    private let stopping = Mutex<Task<Void, Never>?>(nil)
    private let ended = Latch()

    /// - Parameters:
    ///   - keyLog: what the engines were given, to be told of.
    ///   - makeEngine: runs on the thread of the worker of that number, which keeps the engine.
    ///   - renewRandomness: has this process draw from another stream than copies of it.
    public init(
        configuration: DaemonConfiguration, steering: any Steering, logger: Logger, keyLog: KeyLogFile? = nil,
        makeEngine: @escaping @Sendable (_ worker: Int) -> Engine,
        renewRandomness: @escaping @Sendable () -> Void = {}
    ) throws(DaemonError) {
        self.configuration = configuration
        self.steering = steering
        self.logger = logger
        self.keyLog = keyLog
        self.makeEngine = makeEngine
        self.renewRandomness = renewRandomness
        events = EventLog(logger: logger)
        var workers: [Worker] = []
        for index in 0..<max(1, configuration.workers) { workers.append(try Worker(index: index, logger: logger)) }
        self.workers = workers
    }

    /// Binds the queues, takes over what an earlier daemon left, and only then installs the rules.
    ///
    /// On a throw everything done so far is undone.
    public func start() async throws {
        let files = try RuntimeFiles(configuration, logger: logger)
        self.files.withLock { $0 = files }
        try await startWorkers(files.journal)
        do {
            let survey = try Self.survey(withTokens: true)
            try await askAll { loop in loop.adopt(survey) }
            do { try steering.install() } catch { throw DaemonError.steering("\(error)") }
        } catch {
            _ = try? await askAll { loop in loop.destroyRemaining() }
            removeRules()
            await end(workers)
            throw error
        }
    }

    /// Where one cannot start, the rules of an earlier daemon stay: its connections would go on in clear.
    private func startWorkers(_ journal: CrashJournal) async throws {
        for worker in workers {
            do {
                try await worker.start(
                    { (worker, mailbox) throws(DaemonError) in try self.makeLoop(worker.index, mailbox, journal) },
                    failed: { self.ended.open(.failure($0)) })
            } catch {
                await end(workers.prefix(worker.index))
                throw error
            }
        }
    }

    /// Returns when the loops have ended after ``stop()``.
    /// - Throws: what ended one of them otherwise, after its encrypted flows were reset. ``stop()`` then resets those of the others and
    ///   removes the rules.
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
        _ = try? await askAll { loop in loop.shutDown() }
        try? await Task.sleep(for: .milliseconds(min(300, max(0, configuration.graceMilliseconds))))
        // Once more for handshakes that completed meanwhile.
        _ = try? await askAll { loop in
            loop.shutDown()
            loop.destroyRemaining()
        }
        removeRules()
        await end(workers)
        events.sumUpRefusedJoins(isLast: true)
        ended.open(.success(()))
    }

    /// Closes the queues of these workers, all of those that were started, and removes the files where nothing is left to remember.
    private func end(_ workers: some Sequence<Worker>) async {
        for worker in workers { await worker.end() }
        files.withLock { $0 }?.removeIfEmpty()
    }

    /// Waits for randomness, then compares flows and sockets every ten seconds; ends when its task is cancelled or a loop is gone.
    public func keepHouse() async {
        await awaitSeed()
        var bootID = BootID.current
        while (try? await Task.sleep(for: .seconds(10))) != nil {
            events.sumUpRefusedJoins()
            do {
                if let now = BootID.current, now != bootID {
                    bootID = now
                    try await askAll { loop in loop.disownSecrets() }
                }
                let sockets = try Self.survey().tuples
                try await askAll { loop in loop.reconcile(sockets) }
            } catch DaemonError.stopped {
                return
            } catch {
                logger.warning("cannot list sockets: \(error)")
            }
        }
    }

    private func awaitSeed() async {
        let known = try? await askAll { loop in loop.engine.isRandomnessSeeded }
        guard known?.contains(false) == true else { return }
        logger.warning("the system's randomness is not seeded yet: no connection is encrypted before")
        guard await SeedWatch(isSeeded: configuration.isSeeded).wait() else { return }
        _ = try? await askAll { loop in loop.engine.isRandomnessSeeded = true }
        logger.notice("the system's randomness is seeded")
    }

    /// Runs `body` on the thread of every worker.
    ///
    /// - Returns: the answers, in the order of the workers.
    /// - Throws: ``DaemonError/stopped`` where one has ended; the others have run it all the same.
    @discardableResult
    func askAll<Answer: Sendable>(
        _ body: @escaping @Sendable (inout PacketLoop) -> Answer
    ) async throws -> [Answer] {
        try await withThrowingTaskGroup(of: (Int, Answer).self) { group in
            for worker in workers { group.addTask { (worker.index, try await worker.ask(body)) } }
            var answers: [(Int, Answer)] = []
            for try await answer in group { answers.append(answer) }
            return answers.sorted { $0.0 < $1.0 }.map(\.1)
        }
    }

    /// Asks every worker, piece by piece: packets go between.
    ///
    /// - Parameter body: answers a part of it, and moves the place.
    func askInPieces<Answer: Sendable>(
        ofAll isOfAll: Bool = true,
        _ body: @escaping @Sendable (inout Engine, Instant, inout ReportPlace) -> Answer
    ) async throws -> [Answer] {
        try await withThrowingTaskGroup(of: [Answer].self) { group in
            for worker in workers.prefix(isOfAll ? workers.count : 1) {
                group.addTask {
                    var answers: [Answer] = []
                    var place = ReportPlace()
                    while !place.isEnd {
                        let (from, answer) = try await worker.ask { [place] loop in
                            var next = place
                            let answer = body(&loop.engine, loop.time, &next)
                            return (next, answer)
                        }
                        place = from
                        answers.append(answer)
                    }
                    return answers
                }
            }
            return try await group.reduce(into: []) { $0 += $1 }
        }
    }

    /// For what all workers share: runs `body` on the thread of the first.
    func askOne<Answer: Sendable>(
        _ body: @escaping @Sendable (inout PacketLoop) -> Answer
    ) async throws -> Answer {
        try await workers[0].ask(body)
    }

    private func removeRules() {
        do { try steering.remove() } catch { logger.error("cannot remove the firewall rules: \(error)") }
    }

    private static func survey(withTokens: Bool = false) throws(DaemonError) -> SocketSurvey {
        do {
            return SocketSurvey(sockets: try SocketDiagnostics().list(withTokens: withTokens))
        } catch {
            throw .system(error)
        }
    }

    private func makeLoop(
        _ worker: Int, _ mailbox: Mailbox, _ journal: CrashJournal
    ) throws(DaemonError) -> PacketLoop {
        do {
            let queues = configuration.queues(ofWorker: worker)
            let kernel = LiveKernel(
                main: try QueueSocket(queue: queues.main, overload: .drop),
                strangers: try QueueSocket(queue: queues.strangers, overload: .drop, maximumLength: 8_192),
                syn: try QueueSocket(queue: queues.syn, overload: .accept),
                injector: try PacketInjector(groupID: configuration.injectGroup), addresses: try OwnAddresses(),
                sockets: try SocketDiagnostics(), events: events)
            let executor = ActionExecutor(
                kernel: kernel, journal: journal, events: events, marks: configuration.marks)
            var engine = makeEngine(worker)
            engine.isRandomnessSeeded = configuration.isSeeded()
            return PacketLoop(
                share: WorkerShare(worker: worker, workers: workers.count), engine: engine,
                executor: executor, interfaces: try InterfaceTable(), routes: try RouteTable(), mailbox: mailbox,
                machine: try MachineWatch(clockPath: configuration.machineClock), renewRandomness: renewRandomness)
        } catch let error as QueueError {
            throw .queue(error)
        } catch let error as SystemCallError {
            throw .system(error)
        } catch {
            throw .stopped
        }
    }
}
