import Foundation

/// Measures tables, round by round, each row once in a round.
struct Runner {
    let bench: Bench
    let rounds: Int
    private let began = Clock.seconds()

    init(bench: Bench, rounds: Int) {
        self.bench = bench
        self.rounds = rounds
    }

    func measure(_ table: TableSpecification) throws -> MeasuredTable {
        var rows = table.rows.map { Row(name: $0.name) }
        let rounds = min(rounds, table.roundsAtMost)
        for round in 0..<rounds {
            // Another one begins each time: none is always measured just after the same neighbour has warmed the machine.
            for turn in rows.indices {
                let index = (turn + round) % rows.count
                try measure(table, index, into: &rows[index], round: round, of: rounds)
            }
        }
        return MeasuredTable(
            name: table.name, title: table.title, note: table.note, metrics: table.metrics,
            references: table.references,
            relation: table.relation, rows: rows)
    }

    private func measure(_ table: TableSpecification, _ index: Int, into row: inout Row, round: Int, of rounds: Int)
        throws
    {
        try Interruption.check()
        let title = "\(table.name), round \(round + 1) of \(rounds), \(row.name): "
        do {
            let numbers = try table.rows[index].measure(bench).map { $0.isFinite ? $0 : nil }
            row.rounds.append(numbers)
            tell(
                title
                    + zip(numbers, table.metrics).map { "\($0?.text($1.digits) ?? "-") \($1.unit)" }.joined(
                        separator: ", "))
        } catch BenchError.interrupted {
            throw BenchError.interrupted
        } catch {
            row.rounds.append(table.metrics.map { _ in nil })
            row.problem = "\(error)"
            tell(title + "\(error)")
        }
    }

    private func tell(_ text: String) {
        let seconds = Int(Clock.seconds() - began)
        let line = String(format: "[%2d:%02d] ", seconds / 60, seconds % 60) + text + "\n"
        FileHandle.standardError.write(Data(line.utf8))
    }
}
