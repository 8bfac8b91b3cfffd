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
        version: DaemonVersion.current)

    @Option(help: ArgumentHelp("Settings file (JSON).", valueName: "file"))
    var config: String?

    @Option(help: ArgumentHelp("Path of the control socket.", valueName: "socket"))
    var control: String?

    @Option(help: "trace, debug, info, notice, warning, error or critical.", transform: Self.level)
    var logLevel: Logger.Level?

    func run() async throws {
        do {
            try await serve()
        } catch {
            complain("\(error)")
            throw ExitCode(1)
        }
    }

    private static func level(_ text: String) throws -> Logger.Level {
        guard let level = Logger.Level(rawValue: text.lowercased()) else {
            throw ValidationError("no such log level: \(text)")
        }
        return level
    }
}

enum DaemonVersion {
    static let current = "0.1.0"
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
