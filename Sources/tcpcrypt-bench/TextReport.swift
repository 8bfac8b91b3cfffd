/// Tables as a terminal shows them.
struct TextReport {
    let report: Report

    var text: String {
        let head = [
            "\(report.machine)",
            "\(report.date); medians of \(report.rounds) rounds of \(report.seconds.text(1)) s, ratios within a round",
            "Others kept \(report.othersBusy.text(2)) processors busy before it began", "",
        ]
        return (head + report.tables.flatMap(lines)).joined(separator: "\n")
    }

    private func lines(_ table: MeasuredTable) -> [String] {
        var lines = ["\(table.title)  (\(table.name))"]
        if !table.note.isEmpty { lines.append("  \(table.note)") }
        let references = table.references.compactMap { name in table.rows.first { $0.name == name } }
        var cells = [[""] + table.metrics.map(\.name) + references.map { "\(table.relation.sign) \($0.name)" }]
        let digits = table.relation == .ratio ? 2 : table.metrics.first?.digits ?? 2
        for row in table.rows {
            let medians = table.metrics.enumerated().map { row.median($0)?.text($1.digits) ?? "-" }
            let ratios = references.map { reference in
                reference.name == row.name ? "" : row.comparison(to: reference, 0, table.relation)?.text(digits) ?? "-"
            }
            cells.append([row.name] + medians + ratios)
        }
        lines += Columns.aligned(cells).map { "  " + $0 }
        for row in table.rows {
            if let problem = row.problem { lines.append("  \(row.name): \(problem)") }
        }
        return lines + [""]
    }
}

/// Text in columns: the first to the left, numbers to the right.
enum Columns {
    static func aligned(_ rows: [[String]]) -> [String] {
        let count = rows.map(\.count).max() ?? 0
        let widths = (0..<count).map { column in
            rows.map { column < $0.count ? $0[column].count : 0 }.max() ?? 0
        }
        return rows.map { row in
            zip(row, widths).enumerated().map { column, pair in
                let (text, width) = pair
                let space = String(repeating: " ", count: width - text.count)
                return column == 0 ? text + space : space + text
            }.joined(separator: "  ")
        }
    }
}
