import FlowEngine
import Foundation
import OpenSSLProvider
import Synchronization
import TestSupport
import Testing

/// What one seeded run came to.
struct Report {
    var failures: [String] = []
    var trace: [String] = []
    var coverage: Coverage = [:]
}

/// How many runs there are, and with which seeds.
///
/// `TCPCRYPT_RUNS` scales their number (1 is the default: about a minute on four cores, a twentieth of the runs in a debug
/// build), `TCPCRYPT_START` is the first seed (0), `TCPCRYPT_SEED` runs one seed only, `TCPCRYPT_CELL='up x loss-3'` chooses
/// among the table's cells, and `TCPCRYPT_TRACE=1` prints the packets of a run that failed.
enum Runs {
    private static let environment = ProcessInfo.processInfo.environment
    private static let scale = environment["TCPCRYPT_RUNS"].flatMap(Double.init) ?? defaultScale
    private static let first = environment["TCPCRYPT_START"].flatMap { UInt64($0) } ?? 0
    private static let onlySeed = environment["TCPCRYPT_SEED"].flatMap { UInt64($0) }
    static let isTracing = environment["TCPCRYPT_TRACE"] == "1"
    private static let portions = 8

    #if DEBUG
        private static let defaultScale = 0.05
    #else
        private static let defaultScale = 1.0
    #endif

    /// Seeds in a few portions that run side by side.
    static func seeds(_ count: Int) -> [Range<UInt64>] {
        if let onlySeed { return [onlySeed..<onlySeed + 1] }
        let all = max(1, Int(Double(count) * scale))
        let portion = (all + portions - 1) / portions
        return stride(from: 0, to: all, by: portion).map {
            first + UInt64($0)..<first + UInt64(min(all, $0 + portion))
        }
    }

    /// All seeds in one go, for tests that sum up.
    static func whole(_ count: Int) -> Range<UInt64> {
        if let onlySeed { return onlySeed..<onlySeed + 1 }
        return first..<first + UInt64(max(1, Int(Double(count) * scale)))
    }

    /// Runs each seed and records what failed. A failing run is repeated with its trace where that is wanted.
    ///
    /// - Parameter cell: which cell of the table it is.
    static func each(
        _ seeds: Range<UInt64>, _ name: String, cell: String? = nil, _ body: (UInt64, Bool) -> Report
    ) async {
        for seed in seeds {
            // Other tests wait for the same few threads.
            await Task.yield()
            let report = body(seed, false)
            Tally.shared.count(name, report.coverage)
            guard !report.failures.isEmpty else { continue }
            let text = report.failures.prefix(12).joined(separator: "\n  ")
            Issue.record("\(cell ?? name): \(command(seed, name, cell))\n  \(text)")
            if isTracing {
                print("--- \(cell ?? name) seed \(seed)\n" + body(seed, true).trace.joined(separator: "\n"))
            }
        }
    }

    /// What repeats one run with its packets.
    private static func command(_ seed: UInt64, _ name: String, _ cell: String?) -> String {
        (cell.map { "TCPCRYPT_CELL='\($0)' " } ?? "")
            + "TCPCRYPT_SEED=\(seed) TCPCRYPT_TRACE=1 swift test -c release -Xswiftc -enable-testing"
            + " --scratch-path .build-test --filter '/\(name)[(]'"
    }
}

/// Counts the runs of all tests, and prints them when the process ends.
final class Tally: Sendable {
    static let shared = Tally()
    private let state = Mutex((runs: [String: Int](), coverage: Coverage()))

    private init() {
        atexit { Tally.shared.printSummary() }
    }

    func count(_ name: String, _ coverage: Coverage) {
        state.withLock { state in
            state.runs[name, default: 0] += 1
            state.coverage.merge(coverage, uniquingKeysWith: +)
        }
    }

    private func printSummary() {
        let (runs, coverage) = state.withLock { $0 }
        let each = runs.sorted { $0.key < $1.key }.map { "\($0.key) \($0.value)" }.joined(separator: ", ")
        print("simulation: \(runs.values.reduce(0, +)) seeded runs (\(each))")
        let happenings = Happening.allCases.map { "\($0.rawValue) \(coverage[$0, default: 0])" }
        print("simulation covered: \(happenings.joined(separator: ", "))")
    }
}

extension Simulation {
    convenience init(seed: UInt64, _ setup: Setup, trace: Bool) {
        self.init(seed: seed, setup, crypto: OpenSSLProvider(), trace: trace)
    }

    /// Whether a host logged that the connection was encrypted.
    func isEncrypted(_ host: SimulatedHost) -> Bool {
        for event in host.events {
            if case .encrypted = event { return true }
        }
        return false
    }

    /// The report of a run: `failures` and whatever may never happen.
    func report(_ failures: [String], mayBePlain: Bool = false) -> Report {
        let violations = violations.filter { !mayBePlain || !$0.hasPrefix("plaintext") }
        return Report(failures: failures + violations, trace: network.trace.lines, coverage: coverage)
    }
}
