import ArgumentParser
import ControlProtocol
import TcpcryptClient

/// Asks the daemon one thing and shows the answer. Exit status: 0 answered, 1 no answer, 64 wrong usage.
@main
struct Tcpcryptctl: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "tcpcryptctl",
        abstract: "Show and steer the tcpcrypt daemon of this network namespace.",
        discussion: """
            status          the daemon: what it offers, how much it did
            connections     every connection, subflow by subflow
            sessions        cached sessions that a later connection may resume
            flush-sessions  forget cached sessions, all or those with one peer; connections that exist go on
            rekey           new keys for every encrypted connection
            counters        the daemon's counters alone

            Each network namespace has a daemon of its own: reach another one with --control.
            """,
        version: ControlProtocol.productVersion)

    @Argument(help: "What to do.")
    var verb = ControlRequest.Verb.status

    @Argument(
        help: "With flush-sessions: an address or a prefix such as 192.0.2.0/24; only sessions with a peer there go.")
    var peer: String?

    @Option(help: ArgumentHelp("The daemon's control socket.", valueName: "socket"))
    var control = ControlProtocol.defaultSocketPath

    @Flag(help: "Print JSON on one line; its members are stable.")
    var json = false

    func validate() throws {
        guard peer == nil || verb == .flushSessions else {
            throw ValidationError("only flush-sessions takes a peer")
        }
    }

    private var request: ControlRequest {
        switch verb {
        case .status: .status
        case .connections: .connections
        case .sessions: .sessions
        case .flushSessions: .flushSessions(peer: peer)
        case .rekey: .rekey
        case .counters: .counters
        }
    }

    func run() async throws {
        let response: ControlResponse
        do throws(TcpcryptClientError) {
            response = try await TcpcryptClient(control).ask(request)
        } catch {
            Terminal.complain("tcpcryptctl: \(error)")
            throw ExitCode(1)
        }
        guard Terminal.show(json ? response.payload.text : HumanText(style: Terminal.style).text(of: response)) else {
            Terminal.complain("tcpcryptctl: standard output takes no more: is the disk full?")
            throw ExitCode(1)
        }
    }
}

extension ControlRequest.Verb: ExpressibleByArgument {}
