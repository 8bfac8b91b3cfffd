import ArgumentParser
import Foundation

/// Measures tcpcryptd beside what else carries or encrypts connections, on this machine.
@main
struct BenchCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "tcpcrypt-bench",
        abstract:
            "Compares tcpcryptd with plain TCP, with what NFQUEUE allows at best, and with TLS, ssh and WireGuard.",
        discussion: """
            Each is given two hosts (network namespaces on this machine, joined by veth), and all are measured in turn, round by round; \
            what is compared is compared within a round. Needs root, touches nothing outside its namespaces, and removes \
            them at the end, also when it is interrupted. Exit status: 0 measured, 1 not, 64 wrong usage, 130 interrupted.

            "list" prints the tables and their rows.
            """)

    @Argument(help: ArgumentHelp("run (the default) or list.")) var verb = "run"
    @Option(parsing: .upToNextOption, help: ArgumentHelp("These tables only.", valueName: "table")) var only: [String] =
        []
    @Option(help: "How often each row is measured.") var rounds = 5
    @Option(help: "How long each measurement takes.") var seconds = 2.0
    @Option(help: ArgumentHelp("Write all numbers there.", valueName: "file")) var json: String?
    @Option(help: ArgumentHelp("Write a plot of each table into that folder.", valueName: "folder")) var svg: String?
    @Option(help: ArgumentHelp("Show what changed since that --json file.", valueName: "file")) var compare: String?
    @Option(help: ArgumentHelp("A --json file to show instead of measuring.", valueName: "file")) var show: String?
    @Option(
        help: ArgumentHelp("Where tcpcryptd and the tools are (default: beside this program).", valueName: "folder"))
    var binaries: String?

    func validate() throws {
        guard ["run", "list"].contains(verb) else { throw ValidationError("run or list, not \(verb)") }
        guard (1...1000).contains(rounds) else { throw ValidationError("--rounds must be 1 to 1000") }
        guard (0.1...3600).contains(seconds) else { throw ValidationError("--seconds must be 0.1 to 3600") }
        let names = TableSpecification.all.map(\.name)
        for name in only where !names.contains(name) {
            throw ValidationError("no table is called \(name): there are \(names.joined(separator: ", "))")
        }
    }

    func run() throws {
        if verb == "list" { return list() }
        do {
            let old = try compare.map { try Report.read($0) }
            let report = try show.map { try Report.read($0) } ?? measure()
            print(TextReport(report: report).text)
            if let old { print(Comparison(old: old, new: report).text) }
            try json.map { try report.write($0) }
            try svg.map { try plot(report, into: $0) }
            guard report.tables.contains(where: { $0.rows.contains { $0.median(0) != nil } }) else {
                throw BenchError.failed("nothing could be measured")
            }
        } catch BenchError.interrupted {
            throw ExitCode(130)
        } catch {
            FileHandle.standardError.write(Data("tcpcrypt-bench: \(error)\n".utf8))
            throw ExitCode(1)
        }
    }

    private func list() {
        for table in TableSpecification.all {
            print("\(table.name): \(table.title)")
            for row in table.rows { print("    \(row.name)") }
        }
    }

    private func measure() throws -> Report {
        guard geteuid() == 0 else { throw BenchError.failed("this needs root (network namespaces, NFQUEUE)") }
        Interruption.install()
        let own = try FileManager.default.destinationOfSymbolicLink(atPath: "/proc/self/exe")
        let folder = binaries ?? URL(fileURLWithPath: own).deletingLastPathComponent().path
        let bench = try Bench(binaries: folder, seconds: seconds)
        defer { bench.tearDown() }
        let busy = ProcessorTime.busy()
        try Interruption.sleep(seconds: 1)
        let others = ProcessorTime.busy() - busy
        let runner = Runner(bench: bench, rounds: rounds)
        let wanted = TableSpecification.all.filter { only.isEmpty || only.contains($0.name) }
        let tables = try wanted.map { try runner.measure($0) }
        return Report(
            machine: Machine.description, date: Machine.date(), rounds: rounds, seconds: seconds, othersBusy: others,
            tables: tables)
    }

    private func plot(_ report: Report, into folder: String) throws {
        try FileManager.default.createDirectory(atPath: folder, withIntermediateDirectories: true)
        for table in report.tables {
            try Plot(table: table).svg.write(toFile: "\(folder)/\(table.name).svg", atomically: true, encoding: .utf8)
        }
    }
}

/// What was measured on.
enum Machine {
    static var description: String {
        let text = (try? String(contentsOfFile: "/proc/cpuinfo", encoding: .utf8)) ?? ""
        let model = text.split(separator: "\n").first { $0.hasPrefix("model name") }?.split(separator: ":").last
        let kernel = (try? String(contentsOfFile: "/proc/sys/kernel/osrelease", encoding: .utf8)) ?? ""
        let parts = ["\(sysconf(Int32(_SC_NPROCESSORS_ONLN))) x\(model ?? " processors")", "Linux \(kernel)"]
        return parts.map { $0.trimmingCharacters(in: .whitespacesAndNewlines) }.joined(separator: ", ")
    }

    static func date() -> String {
        let formatter = DateFormatter()
        formatter.locale = Locale(identifier: "en_GB")
        formatter.dateFormat = "yyyy-MM-dd HH:mm"
        return formatter.string(from: Date())
    }
}
