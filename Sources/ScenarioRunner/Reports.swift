import Foundation

/// The Test Anything Protocol, version 14: each scenario is a subtest of its assertions.
public struct TAPReport: Sendable {
    private var count = 0

    public init() {}

    /// What goes before everything.
    public func head(of scenarios: Int) -> String { "TAP version 14\n1..\(scenarios)\n" }

    /// One scenario, in the order in which they end.
    public mutating func text(of outcome: Outcome) -> String {
        count += 1
        var lines = ["# Subtest: \(TAPReport.escaped(outcome.name))"]
        for (index, assertion) in outcome.assertions.enumerated() {
            let verdict = assertion.result == .failed ? "not ok" : "ok"
            let skip = assertion.result == .skipped ? " # SKIP" : ""
            lines.append("    \(verdict) \(index + 1) - \(TAPReport.escaped(assertion.title))\(skip)")
            lines += assertion.details.map { "    # \($0)" }
        }
        lines.append("    1..\(outcome.assertions.count)")
        lines += outcome.notes.map { "    # \($0)" }
        lines.append("\(outcome.isGood ? "ok" : "not ok") \(count) - \(TAPReport.escaped(outcome.name))")
        if let complaint = outcome.complaint { lines += ["# \(complaint)"] + outcome.lastWords.map { "#   \($0)" } }
        return lines.joined(separator: "\n") + "\n"
    }

    /// `#` begins a directive there.
    private static func escaped(_ text: String) -> String {
        text.replacing("\\", with: "\\\\").replacing("#", with: "\\#")
    }
}

/// A run as one JSON object.
public struct JSONReport: Encodable, Sendable {
    struct Entry: Encodable {
        struct Line: Encodable {
            let result: String
            let title: String
            let details: [String]
        }
        let name: String
        let title: String
        let result: String
        let ending: String
        let seconds: Double
        let assertions: [Line]
        let notes: [String]
    }
    let passed: Int
    let failed: Int
    let skipped: Int
    let scenarios: [Entry]

    public init(_ outcomes: [Outcome]) {
        let totals = Totals(outcomes)
        (passed, failed, skipped) = (totals.passed, totals.failed, totals.skipped)
        scenarios = outcomes.sorted { $0.name < $1.name }.map { outcome in
            Entry(
                name: outcome.name, title: outcome.title, result: outcome.isGood ? "passed" : "failed",
                ending: "\(outcome.ending)", seconds: (outcome.seconds * 1000).rounded() / 1000,
                assertions: outcome.assertions.map {
                    .init(result: $0.result.rawValue, title: $0.title, details: $0.details)
                },
                notes: outcome.notes)
        }
    }

    public func text() throws -> String {
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.prettyPrinted, .sortedKeys, .withoutEscapingSlashes]
        return String(decoding: try encoder.encode(self), as: UTF8.self) + "\n"
    }
}

/// For people: a line for each scenario, more for what failed.
public struct TextReport: Sendable {
    private let green: String
    private let red: String
    private let plain: String

    public init(isColoured: Bool) {
        (green, red, plain) = isColoured ? ("\u{1B}[32m", "\u{1B}[31m", "\u{1B}[0m") : ("", "", "")
    }

    /// - Parameter log: where all that it wrote is.
    public func text(of outcome: Outcome, log: String) -> String {
        let seconds = Int(outcome.seconds.rounded())
        var lines: [String] = []
        if outcome.isGood {
            let skipped = outcome.count(.skipped)
            let also = skipped == 0 ? "" : ", \(skipped) skipped"
            lines.append(
                "\(green)passed\(plain)  \(outcome.name): \(outcome.count(.passed)) assertions\(also), \(seconds) s")
        } else {
            let bad = outcome.count(.failed)
            let all = bad + outcome.count(.passed)
            let why = outcome.complaint ?? "\(bad) of \(all) assertions"
            lines.append("\(red)FAILED\(plain)  \(outcome.name), \(seconds) s: \(why); \(log)")
            for assertion in outcome.assertions where assertion.result == .failed {
                lines += assertion.lines.map { "    \($0)" }
            }
            lines += outcome.lastWords.map { "    \($0)" }
        }
        for assertion in outcome.assertions where assertion.result == .skipped {
            lines += assertion.lines.map { "    \($0)" }
        }
        lines += outcome.notes.filter(TextReport.isWorthTelling).map { "    # \($0)" }
        return lines.joined(separator: "\n") + "\n"
    }

    /// What was measured or drawn, and what is left; the rest is in the log.
    private static func isWorthTelling(_ note: String) -> Bool {
        ["│", "kept"].contains { note.hasPrefix($0) } || ["Mbit/s", " ms", "GB"].contains { note.contains($0) }
    }

    /// The end of a run: what failed once more, and the numbers.
    public func summary(of outcomes: [Outcome], requiresAll: Bool) -> String {
        guard !outcomes.isEmpty else { return "" }
        var totals = Totals(outcomes)
        var lines = outcomes.filter { !$0.isGood }.map { "\(red)failed:\(plain) \($0.name)" }
        if requiresAll, totals.skipped > 0 {
            lines.append("\(red)failed:\(plain) \(totals.skipped) skipped, and --require-all was asked for")
            totals.failed += totals.skipped
            totals.skipped = 0
        }
        let skipped = totals.skipped == 0 ? "" : ", \(totals.skipped) skipped"
        lines.append("\(totals.passed) passed, \(totals.failed) failed\(skipped)")
        return lines.joined(separator: "\n") + "\n"
    }
}
