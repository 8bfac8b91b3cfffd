import Foundation

/// What one column says.
struct Metric: Codable, Sendable {
    var name: String
    var unit: String
    var isBetterHigh = true
    var digits = 2
}

/// One row, measured once in every round.
struct Row: Codable {
    var name: String
    /// By round, then by metric; nil where a round failed or has no such number.
    var rounds: [[Double?]] = []
    /// Why there is nothing, or not everything.
    var problem: String?

    func values(_ metric: Int) -> [Double] {
        rounds.compactMap { metric < $0.count ? $0[metric] : nil }
    }

    func median(_ metric: Int) -> Double? { values(metric).median }

    /// The median over the rounds of what sets this row off from another in the same round.
    func comparison(to other: Row, _ metric: Int, _ how: Relation) -> Double? {
        zip(rounds, other.rounds).compactMap { mine, theirs -> Double? in
            guard metric < mine.count, metric < theirs.count, let mine = mine[metric], let theirs = theirs[metric]
            else { return nil }
            return how.value(mine, theirs)
        }.median
    }
}

/// How rows are set in relation to another row.
enum Relation: String, Codable, Sendable {
    case ratio
    case difference

    func value(_ mine: Double, _ theirs: Double) -> Double? {
        switch self {
        case .ratio: theirs > 0 ? mine / theirs : nil
        case .difference: mine - theirs
        }
    }

    var sign: String {
        switch self {
        case .ratio: "x"
        case .difference: "minus"
        }
    }
}

/// One table of the report.
struct MeasuredTable: Codable {
    var name: String
    var title: String
    var note: String
    var metrics: [Metric]
    /// Rows that the others are set in proportion to.
    var references: [String]
    var relation: Relation
    var rows: [Row]
}

/// A whole run, as it is written and compared.
struct Report: Codable {
    var version = 1
    var machine: String
    var date: String
    var rounds: Int
    var seconds: Double
    /// Processors that others kept busy before it began: with more than a few hundredths the numbers mean little.
    var othersBusy: Double
    var tables: [MeasuredTable]

    static func read(_ path: String) throws -> Report {
        let report = try JSONDecoder().decode(Report.self, from: Data(contentsOf: URL(fileURLWithPath: path)))
        guard report.version == 1 else { throw BenchError.failed("\(path) is of version \(report.version)") }
        return report
    }

    func write(_ path: String) throws {
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.prettyPrinted, .sortedKeys]
        try encoder.encode(self).write(to: URL(fileURLWithPath: path))
    }
}

extension [Double] {
    var median: Double? {
        let sorted = self.filter { $0.isFinite }.sorted()
        guard let upper = sorted.dropFirst(sorted.count / 2).first else { return nil }
        guard sorted.count % 2 == 0, let lower = sorted.dropFirst(sorted.count / 2 - 1).first else { return upper }
        return (lower + upper) / 2
    }
}

extension Double {
    func text(_ digits: Int) -> String { String(format: "%.\(digits)f", self) }
}
