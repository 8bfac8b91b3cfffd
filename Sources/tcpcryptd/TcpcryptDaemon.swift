import ArgumentParser
import ControlProtocol
import ControlServer
import DaemonCore
import FlowEngine
import Glibc
import Logging
import OpenSSLProvider
import ServiceLifecycle

/// The command line: reads the settings, puts the parts together, runs until a signal.
@main
struct TcpcryptDaemon: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "tcpcryptd",
        abstract: "Encrypts TCP and MPTCP connections with tcpcrypt (RFC 8548) where the peer does too.",
        version: ControlProtocol.productVersion)

    @Option(
        help: ArgumentHelp(
            "Settings file (JSON). (default: \(DaemonSettings.defaultPath), if it exists)", valueName: "file"))
    var config: String?

    @Option(help: ArgumentHelp("Path of the control socket.", valueName: "socket"))
    var control = ControlProtocol.defaultSocketPath

    @Option(
        help: ArgumentHelp(
            "\(Self.levels). (default: the file's log_level, else info)", valueName: "level"),
        transform: Self.level)
    var logLevel: Logger.Level?

    func run() async throws {
        do {
            try await serve()
        } catch {
            complain("\(error)")
            throw ExitCode(1)
        }
        // Everything is undone. What `exit` would still do, destructors and OpenSSL's own end, races with threads that are about
        // to end.
        fflush(nil)
        _exit(0)
    }

    private static let levels = Logger.Level.allCases.map(\.rawValue).joined(separator: ", ")

    private static func level(_ text: String) throws -> Logger.Level {
        guard let level = Logger.Level(rawValue: text.lowercased()) else {
            throw ValidationError("give one of \(levels)")
        }
        return level
    }
}

/// One line for the person at the terminal or the service manager.
func complain(_ text: String) {
    write(line: "tcpcryptd: \(text)")
}

/// Writes to standard error, where the log goes too.
func write(line: String) {
    let bytes = Array((line + "\n").utf8)
    _ = unsafe bytes.withUnsafeBytes { unsafe Glibc.write(2, $0.baseAddress, $0.count) }
}
