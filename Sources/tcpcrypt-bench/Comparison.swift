/// What changed since an earlier run.
struct Comparison {
    let old: Report
    let new: Report
    /// From here on a change is marked.
    static let notable = 0.10

    var text: String {
        var lines = [
            "Compared with \(old.date): new / old of the medians; changes over 10 % are marked + (better) or ! (worse)",
            "",
        ]
        for table in new.tables {
            guard let before = old.tables.first(where: { $0.name == table.name }) else { continue }
            lines.append(table.title)
            var cells = [["", "", "old", "new", "new/old", ""]]
            for row in table.rows {
                guard let oldRow = before.rows.first(where: { $0.name == row.name }) else { continue }
                cells += rows(table, row, before, oldRow)
            }
            lines += Columns.aligned(cells).map { "  " + $0 } + [""]
        }
        return lines.joined(separator: "\n")
    }

    private func rows(_ table: MeasuredTable, _ row: Row, _ before: MeasuredTable, _ oldRow: Row) -> [[String]] {
        table.metrics.enumerated().compactMap { index, metric in
            guard let oldIndex = before.metrics.firstIndex(where: { $0.name == metric.name }),
                let oldValue = oldRow.median(oldIndex), let newValue = row.median(index), oldValue > 0
            else { return nil }
            let ratio = newValue / oldValue
            let isNotable = abs(ratio - 1) > Comparison.notable
            let mark = isNotable ? ((ratio > 1) == metric.isBetterHigh ? "+" : "!") : ""
            return [
                row.name, metric.name, oldValue.text(metric.digits), newValue.text(metric.digits), ratio.text(2), mark,
            ]
        }
    }
}
