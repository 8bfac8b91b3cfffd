import Foundation
import ScenarioRunner
import Synchronization

/// Shows a run while it goes on, and reports it at the end.
final class Progress: Sendable {
    enum Style: Sendable { case text, tap, json }

    private struct State {
        var tap = TAPReport()
        var running: [(name: String, began: Date)] = []
        var ended = 0
        var isLineShown = false
    }
    private let state = Mutex(State())
    private let style: Style
    private let scenarios: Int
    private let requiresAll: Bool
    private let isTerminal: Bool
    private let text: TextReport
    private let ticker: Mutex<Task<Void, Never>?> = Mutex(nil)

    init(_ style: Style, scenarios: Int, requiresAll: Bool) {
        self.style = style
        self.scenarios = scenarios
        self.requiresAll = requiresAll
        let environment = ProcessInfo.processInfo.environment
        isTerminal = style == .text && isatty(STDOUT_FILENO) == 1 && environment["TERM"] != "dumb"
        text = TextReport(isColoured: isTerminal && (environment["NO_COLOR"] ?? "").isEmpty)
        if style == .tap { say(state.withLock { $0.tap.head(of: scenarios) }) }
        guard isTerminal else { return }
        ticker.withLock {
            $0 = Task { [weak self] in
                while !Task.isCancelled, let self {
                    self.state.withLock { self.showLine(&$0) }
                    try? await Task.sleep(for: .seconds(1))
                }
            }
        }
    }

    func tell(_ event: Run.Event) {
        state.withLock { state in
            switch event {
            case .began(let name): state.running.append((name, Date()))
            case .ended(let outcome, let log):
                state.running.removeAll { $0.name == outcome.name }
                state.ended += 1
                switch style {
                case .tap: say(state.tap.text(of: outcome))
                case .text:
                    clearLine(&state)
                    say(text.text(of: outcome, log: log))
                case .json: break
                }
            }
            showLine(&state)
        }
    }

    func finish(_ outcomes: [Outcome], report: String?) throws {
        ticker.withLock { $0?.cancel() }
        let json = JSONReport(outcomes)
        try state.withLock { state in
            clearLine(&state)
            switch style {
            case .text: say(text.summary(of: outcomes, requiresAll: requiresAll))
            case .json: say(try json.text())
            case .tap: if outcomes.count < scenarios { say("Bail out! interrupted\n") }
            }
        }
        if let report { try json.text().write(toFile: report, atomically: true, encoding: .utf8) }
    }

    /// The one line of a terminal that is written over: what runs, and for how long.
    private func showLine(_ state: inout State) {
        guard isTerminal, !state.running.isEmpty else { return }
        let now = Date()
        let running = state.running.map { "\($0.name) \(Int(now.timeIntervalSince($0.began))) s" }
        let line = "    \(state.ended) of \(scenarios): \(running.joined(separator: ", "))"
        say("\r\u{1B}[K" + line.prefix(100))
        state.isLineShown = true
    }

    private func clearLine(_ state: inout State) {
        guard state.isLineShown else { return }
        say("\r\u{1B}[K")
        state.isLineShown = false
    }
}
