import Foundation
import SystemPackage

/// How scenarios are run.
public struct RunOptions: Sendable {
    /// How many at once, but for those that run alone.
    public var jobs = 2
    /// Namespaces, processes and files stay.
    public var keeps = false
    /// Captures of every host go to a folder of the scenario's name in here.
    public var pcap: String?
    /// Bytes of each packet in those captures; 0 for all.
    public var snapLength = 512
    /// What each scenario writes goes to NAME.log in here.
    public var logs: String
    /// Subflows are drawn as they are before the last checks.
    public var draws = false
    /// Without daemons: the traffic is proven, what is about encryption is skipped.
    public var isBaseline: Bool

    public init(logs: String) {
        self.logs = logs
        isBaseline = ProcessInfo.processInfo.environment["TCPCRYPT_SCENARIO_BASELINE"]?.isEmpty == false
    }
}

/// One run of some scenarios, several at once.
public struct Run: Sendable {
    public enum Event: Sendable {
        case began(String)
        case ended(Outcome, log: String)
    }

    private let catalog: Catalog
    private let entries: [String: CatalogEntry]
    private let options: RunOptions
    private let tell: @Sendable (Event) -> Void

    /// - Parameter tell: told in order what goes on.
    public init(
        _ entries: [CatalogEntry], of catalog: Catalog, options: RunOptions, tell: @escaping @Sendable (Event) -> Void
    ) {
        self.catalog = catalog
        self.entries = Dictionary(entries.map { ($0.name, $0) }) { first, _ in first }
        self.options = options
        self.tell = tell
    }

    /// Runs them all; where the task is cancelled those that run are ended, and clean up, and the others do not begin.
    ///
    /// - Returns: of those that began.
    public func outcomes() async throws -> [Outcome] {
        let folders = [options.logs] + (options.pcap.map { [$0] } ?? [])
        for folder in folders {
            try FileManager.default.createDirectory(atPath: folder, withIntermediateDirectories: true)
        }
        var schedule = Schedule(entries.values.map { ($0.name, $0.terms) }, jobs: options.jobs)
        return await withTaskGroup(of: Outcome.self) { group in
            var outcomes: [Outcome] = []
            var number = 0
            while true {
                while !Task.isCancelled, let name = schedule.begin(), let entry = entries[name] {
                    number += 1
                    let prefix = "tc\(getpid())-\(number)"
                    tell(.began(name))
                    group.addTask { await run(entry, prefix: prefix) }
                }
                guard let outcome = await group.next() else { return outcomes }
                schedule.end()
                outcomes.append(outcome)
                tell(.ended(outcome, log: log(outcome.name).string))
            }
        }
    }

    private func log(_ name: String) -> FilePath { FilePath(options.logs).appending("\(name).log") }

    private func run(_ entry: CatalogEntry, prefix: String) async -> Outcome {
        let began = ContinuousClock.now
        var outcome = Outcome(name: entry.name, title: entry.title)
        switch entry.kind {
        case .script:
            let execution = ScriptExecution(
                script: entry.file, prefix: prefix, log: log(entry.name), options: options, name: entry.name)
            outcome.ending = await execution.run(limit: entry.terms.limit)
        case .declared(let scenario):
            let execution = DeclaredExecution(
                scenario, prefix: prefix, log: log(entry.name), options: options, catalog: catalog)
            outcome.ending = await execution.run()
        case .broken(let problem):
            try? "not ok - \(problem)\n".write(toFile: log(entry.name).string, atomically: false, encoding: .utf8)
            outcome.ending = .exited(1)
        }
        if !options.keeps { await Leftovers(prefix: prefix).remove(patience: .seconds(3)) }
        let lines = OutputLines(text: Job.read(log(entry.name)))
        outcome.assertions = lines.assertions
        outcome.notes = lines.notes
        outcome.lastLines = lines.lastLines
        outcome.seconds = Double((ContinuousClock.now - began) / .milliseconds(1)) / 1000
        return outcome
    }
}

/// A bash scenario that runs.
struct ScriptExecution: Sendable {
    let script: FilePath
    let prefix: String
    let log: FilePath
    let options: RunOptions
    let name: String

    /// What `lib.sh` understands.
    private var environment: [String: String] {
        var added = [Leftovers.variable: prefix]
        if options.keeps { added["TCPCRYPT_KEEP"] = "1" }
        if let pcap = options.pcap {
            added["TCPCRYPT_PCAP"] = FilePath(pcap).appending(name).string
            added["TCPCRYPT_PCAP_BYTES"] = "\(options.snapLength)"
        }
        return added
    }

    func run(limit: Int) async -> Ending {
        let job: Job
        do {
            job = try await Job.start([script.string], environment: environment, output: log)
        } catch {
            try? "not ok - \(script) starts\n#   \(error)\n".write(
                toFile: log.string, atomically: false, encoding: .utf8)
            return .exited(1)
        }
        do {
            if let status = try await job.wait(.seconds(limit)) { return .exited(status) }
        } catch {
            await end(job)
            return .interrupted
        }
        await end(job)
        return .timedOut(seconds: limit)
    }

    /// It cleans up after itself; what it waits for is told as well.
    private func end(_ job: Job) async { await job.end(SIGTERM, toGroup: true, patience: .seconds(30)) }
}
