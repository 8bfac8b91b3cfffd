import FlowEngine
import Foundation
import OpenSSLProvider
import TestSupport
import Testing

/// What one seeded run came to.
struct Report {
    var failures: [String] = []
    var trace: [String] = []
}

/// How many runs there are, and with which seeds.
///
/// `TCPCRYPT_RUNS` scales their number (1 is the default, 0.1 a tenth), `TCPCRYPT_SEED` runs one seed only, and
/// `TCPCRYPT_TRACE=1` prints the packets of a run that failed.
enum Runs {
    private static let environment = ProcessInfo.processInfo.environment
    private static let scale = environment["TCPCRYPT_RUNS"].flatMap(Double.init) ?? 1
    private static let onlySeed = environment["TCPCRYPT_SEED"].flatMap { UInt64($0) }
    static let isTracing = environment["TCPCRYPT_TRACE"] == "1"
    private static let chunk = 10

    /// Seeds in portions, so that portions run side by side.
    static func seeds(_ count: Int) -> [Range<UInt64>] {
        if let onlySeed { return [onlySeed..<onlySeed + 1] }
        let all = max(1, Int(Double(count) * scale))
        return stride(from: 0, to: all, by: chunk).map { UInt64($0)..<UInt64(min(all, $0 + chunk)) }
    }

    /// Runs each seed and records what failed. A failing run is repeated with its trace where that is wanted.
    static func each(_ seeds: Range<UInt64>, _ name: String, _ body: (UInt64, Bool) -> Report) {
        for seed in seeds {
            let report = body(seed, false)
            guard !report.failures.isEmpty else { continue }
            let text = report.failures.prefix(12).joined(separator: "\n  ")
            Issue.record("\(name): TCPCRYPT_SEED=\(seed)\n  \(text)")
            if isTracing { print("--- \(name) seed \(seed)\n" + body(seed, true).trace.joined(separator: "\n")) }
        }
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
    func report(_ failures: [String]) -> Report {
        Report(failures: failures + violations, trace: network.trace.lines)
    }
}
