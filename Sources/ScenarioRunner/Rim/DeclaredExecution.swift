import Foundation
import Synchronization
import SystemPackage

/// A declared scenario that runs.
struct DeclaredExecution: Sendable {
    private let scenario: Scenario
    private let prefix: String
    private let log: FilePath
    private let options: RunOptions
    private let catalog: Catalog

    init(_ scenario: Scenario, prefix: String, log: FilePath, options: RunOptions, catalog: Catalog) {
        self.scenario = scenario
        self.prefix = prefix
        self.log = log
        self.options = options
        self.catalog = catalog
    }

    private final class Alarm: Sendable {
        let hasRung = Mutex(false)
    }

    /// What is left of it afterwards somebody else removes: it all carries the prefix.
    func run() async -> Ending {
        let alarm = Alarm()
        let work = Task { await play() }
        let timer = Task {
            try await Task.sleep(for: .seconds(scenario.terms.limit))
            alarm.hasRung.withLock { $0 = true }
            work.cancel()
        }
        let ending = await withTaskCancellationHandler {
            await work.value
        } onCancel: {
            work.cancel()
        }
        timer.cancel()
        let isLate = alarm.hasRung.withLock { $0 }
        return isLate && ending == .interrupted ? .timedOut(seconds: scenario.terms.limit) : ending
    }

    private func play() async -> Ending {
        let record: Record
        do { record = try Record(log) } catch { return .exited(1) }
        let player: Player
        do {
            player = Player(
                scenario, in: try Laboratory(scenario.topology, prefix: prefix, catalog: catalog), record,
                options: options)
        } catch {
            record.add(Assertion(.failed, "there is a folder for its files", details: ["\(error)"]))
            return .exited(1)
        }
        return await player.play()
    }
}

/// The log of a scenario, a line at a time.
final class Record {
    private let file: FileHandle
    private(set) var hasFailed = false

    init(_ path: FilePath) throws {
        try Data().write(to: URL(fileURLWithPath: path.string))
        file = try FileHandle(forWritingTo: URL(fileURLWithPath: path.string))
    }

    func add(_ assertion: Assertion) {
        hasFailed = hasFailed || assertion.result == .failed
        assertion.lines.forEach(write)
    }
    func note(_ text: String) { write("# \(text)") }

    private func write(_ line: String) {
        try? file.write(contentsOf: Data((line.replacing("\n", with: " ") + "\n").utf8))
    }
}
