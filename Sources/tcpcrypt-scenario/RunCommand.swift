import ArgumentParser
import Foundation
import ScenarioRunner
import UnixSignals

struct RunCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "run", abstract: "Runs scenarios, all of them unless some are named.",
        discussion: """
            Exit status: 0 when all that was asserted holds, 1 when something failed, 2 for wrong usage and files that cannot be \
            read, 130 when it was interrupted. TCPCRYPT_SCENARIO_BASELINE=1 runs them without daemons.
            """)

    /// Which of them, by their terms.
    enum Part: String, ExpressibleByArgument, CaseIterable { case all, shared, alone }

    @OptionGroup var place: CatalogOptions
    @Argument(help: "Names, as `list` shows them.") var names: [String] = []
    @Option(help: ArgumentHelp("How many at once; some run alone, after the others.", valueName: "number")) var jobs = 2
    @Flag(help: "Leave namespaces, processes and files for a look at them; `clean` removes them.") var keep = false
    @Option(
        help: ArgumentHelp(
            "Capture all links of all hosts into a folder for each scenario in here.", valueName: "folder"))
    var pcap: String?
    @Option(help: ArgumentHelp("So much of each packet, 0 for all of it.", valueName: "bytes")) var snapLength = 512
    @Flag(help: "What was skipped counts as failed.") var requireAll = false
    @Flag(help: "Draw the subflows before the last checks.") var draw = false
    @Flag(help: "Report as TAP, version 14.") var tap = false
    @Flag(help: "Report as one JSON object.") var json = false
    @Option(help: ArgumentHelp("Write the JSON object to a file as well.", valueName: "file")) var report: String?
    @Option(help: ArgumentHelp("Where each NAME.log goes.", valueName: "folder")) var logs: String?
    @Option(
        help: ArgumentHelp("Only those that run alone, or only the others: all, shared or alone.", valueName: "part"))
    var part: Part = .all

    func validate() throws {
        guard (1...64).contains(jobs) else { throw ValidationError("--jobs must be 1 to 64") }
        guard (0...262_144).contains(snapLength) else { throw ValidationError("--snap-length must be 0 to 262144") }
        guard !(tap && json) else { throw ValidationError("--tap or --json, not both") }
    }

    func run() async throws {
        let catalog = try place.catalog()
        let wanted = try names.isEmpty ? catalog.entries : names.map { name in try catalog.named(name) }
        for case .broken(let problem) in wanted.map(\.kind) { throw problem }
        let entries = wanted.filter { part == .all || $0.terms.isAlone == (part == .alone) }
        guard geteuid() == 0 else {
            complain("this needs root (network namespaces, NFQUEUE): sudo")
            throw ExitCode(ExitStatus.misuse)
        }
        var options = RunOptions(logs: logs ?? catalog.logs)
        options.jobs = jobs
        options.keeps = keep
        options.pcap = pcap.map { URL(fileURLWithPath: $0).path }
        options.snapLength = snapLength
        options.draws = draw || keep

        let style: Progress.Style = tap ? .tap : json ? .json : .text
        let progress = Progress(style, scenarios: entries.count, requiresAll: requireAll)
        let run = Run(entries, of: catalog, options: options) { progress.tell($0) }
        let (outcomes, isInterrupted) = try await RunCommand.untilSignal { try await run.outcomes() }
        try progress.finish(outcomes, report: report)
        if keep, !outcomes.isEmpty {
            complain("kept: namespaces, processes and files; `tcpcrypt-scenario clean` removes them")
        }
        if isInterrupted { throw ExitCode(ExitStatus.interrupted) }
        guard Totals(outcomes).isGood(requiresAll: requireAll) else { throw ExitCode(ExitStatus.failed) }
    }

    /// - Returns: what the work comes to, also where SIGINT, SIGTERM or SIGHUP cuts it short.
    private static func untilSignal<Result: Sendable>(
        _ work: @escaping @Sendable () async throws -> Result
    ) async throws -> (Result, Bool) {
        let signals = await UnixSignalsSequence(trapping: .sigint, .sigterm, .sighup)
        let task = Task { try await work() }
        let listener = Task {
            for await _ in signals {
                complain("interrupted: cleaning up")
                task.cancel()
                return true
            }
            return false
        }
        let result = try await task.value
        listener.cancel()
        return (result, await listener.value)
    }
}
