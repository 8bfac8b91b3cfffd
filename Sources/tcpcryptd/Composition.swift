import ControlProtocol
import ControlServer
import DaemonCore
import FlowEngine
import Glibc
import Logging
import NetfilterQueue
import OpenSSLProvider
import ServiceLifecycle
import UnixSignals

/// Why the command cannot start.
enum StartError: Error, CustomStringConvertible {
    case notRoot

    var description: String {
        "root is needed for packet queues, raw sockets and firewall rules; start tcpcryptd as root, for example with sudo"
    }
}

extension TcpcryptDaemon {
    func serve() async throws {
        guard geteuid() == 0 else { throw StartError.notRoot }
        // A program or client that goes away is an error to handle, not an end; so is a key log that may not grow.
        signal(SIGPIPE, SIG_IGN)
        signal(SIGXFSZ, SIG_IGN)
        let settings = try await DaemonSettings.load(path: config)
        var logger = Logger(label: "tcpcryptd") { StreamLogHandler.standardError(label: $0) }
        logger.logLevel = logLevel ?? settings.logLevel
        for failure in ProcessMemory.protect() {
            logger.warning("secrets may leave memory: \(failure)")
        }
        let service = try DaemonService(
            settings: settings, socket: control, logger: logger)
        // What the group logs at lower levels is about its own workings.
        var groupLogger = logger
        groupLogger.logLevel = max(.warning, logger.logLevel)
        let group = ServiceGroup(
            configuration: ServiceGroupConfiguration(
                services: [
                    .init(
                        service: service, successTerminationBehavior: .gracefullyShutdownGroup,
                        failureTerminationBehavior: .gracefullyShutdownGroup)
                ],
                gracefulShutdownSignals: [.sigterm, .sigint, .sighup], logger: groupLogger))
        try await group.run()
    }
}

/// The daemon, its housekeeping and its control socket, which live and end together.
struct DaemonService: Service {
    private let daemon: Daemon
    private let control: ControlServer
    private let socket: String
    private let logger: Logger

    init(settings: DaemonSettings, socket: String, logger: Logger) throws {
        let configuration = settings.daemonConfiguration
        let steering = FirewallSteering(
            daemon: configuration, skippedInterfaces: settings.skipInterfaces,
            stateFile: try configuration.stateDirectory() + "/conntrack", logger: logger)
        let keyLog = try settings.openKeyLog(logger)
        let shared = SharedState(configuration.engine, crypto: OpenSSLProvider(), lock: WorkerLock())
        let daemon = try Daemon(
            configuration: configuration, steering: steering, logger: logger, keyLog: keyLog,
            makeEngine: { _ in
                Engine(
                    configuration: configuration.engineOfWorker, crypto: OpenSSLProvider(), random: SystemRandom(),
                    shared: shared, keyLog: keyLog)
            }, renewRandomness: { SystemRandom.renew() })
        control = ControlServer(path: socket, logger: logger) { request in
            await daemon.answer(request, version: ControlProtocol.productVersion)
        }
        self.daemon = daemon
        self.socket = socket
        self.logger = logger
    }

    /// Whatever ends first, a signal included, ends everything, in order: connections are reset, rules removed, queues
    /// closed.
    func run() async throws {
        try await daemon.start()
        let failure = await runUntilFirstEnds()
        logger.info("stopping")
        await daemon.stop()
        if let failure { throw failure }
        logger.info("stopped")
    }

    private func runUntilFirstEnds() async -> (any Error)? {
        await withTaskGroup(of: (any Error)?.self) { group in
            group.addTask { await outcome { try await control.run() } }
            group.addTask { await outcome { await daemon.keepHouse() } }
            group.addTask { await outcome { try await daemon.waitForEnd() } }
            group.addTask { await outcome { try await gracefulShutdown() } }
            group.addTask {
                await announce()
                return await outcome { try await daemon.waitForEnd() }
            }
            let first = await group.next() ?? nil
            group.cancelAll()
            return first is CancellationError ? nil : first
        }
    }

    /// Says that rules, queues and the control socket are there.
    private func announce() async {
        for _ in 0..<100 where !accepts(socket) {
            guard (try? await Task.sleep(for: .milliseconds(10))) != nil else { return }
        }
        write(line: "ready")
    }
}

/// Whether someone listens on the Unix socket at `path`.
private func accepts(_ path: String) -> Bool {
    var address = sockaddr_un()
    address.sun_family = sa_family_t(AF_UNIX)
    let capacity = MemoryLayout.size(ofValue: address.sun_path)
    guard path.utf8.count < capacity else { return false }
    unsafe withUnsafeMutableBytes(of: &address.sun_path) { unsafe $0.copyBytes(from: path.utf8) }
    let descriptor = socket(AF_UNIX, Int32(SOCK_STREAM.rawValue) | Int32(SOCK_CLOEXEC.rawValue), 0)
    guard descriptor >= 0 else { return false }
    defer { close(descriptor) }
    let size = socklen_t(MemoryLayout<sockaddr_un>.size)
    return unsafe withUnsafePointer(to: &address) {
        unsafe $0.withMemoryRebound(to: sockaddr.self, capacity: 1) { unsafe connect(descriptor, $0, size) == 0 }
    }
}

private func outcome(_ body: () async throws -> Void) async -> (any Error)? {
    do {
        try await body()
        return nil
    } catch {
        return error
    }
}
