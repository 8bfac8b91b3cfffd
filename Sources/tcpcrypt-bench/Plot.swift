/// A table's first column as bars, in SVG.
struct Plot {
    let table: MeasuredTable

    private static let barHeight = 22
    private static let gap = 8
    private static let labels = 300
    private static let longest = 420.0
    private static let top = 48

    var svg: String {
        let metric = table.metrics.first ?? Metric(name: "", unit: "")
        let step = Plot.barHeight + Plot.gap
        let height = Plot.top + table.rows.count * step + 12
        let most = table.rows.compactMap { $0.values(0).max() }.max() ?? 1
        let scale = Plot.longest / max(most, .leastNonzeroMagnitude)
        var lines = [
            #"<svg xmlns="http://www.w3.org/2000/svg" width="840" height="\#(height)" font-family="sans-serif" font-size="13">"#,
            ##"<rect width="840" height="\##(height)" fill="#ffffff"/>"##,
            #"<text x="12" y="22" font-size="16" font-weight="bold">\#(Plot.escaped(table.title))</text>"#,
            ##"<text x="12" y="40" fill="#666666">\##(Plot.escaped(metric.name)), median and range; \##(direction(metric))</text>"##,
        ]
        for (index, row) in table.rows.enumerated() {
            lines += bar(row, metric, y: Plot.top + index * step, scale: scale)
        }
        return (lines + ["</svg>", ""]).joined(separator: "\n")
    }

    private func direction(_ metric: Metric) -> String {
        metric.isBetterHigh ? "longer is better" : "shorter is better"
    }

    private func bar(_ row: Row, _ metric: Metric, y: Int, scale: Double) -> [String] {
        let middle = y + Plot.barHeight - 6
        let label = #"<text x="\#(Plot.labels - 8)" y="\#(middle)" text-anchor="end">\#(Plot.escaped(row.name))</text>"#
        guard let median = row.median(0), let least = row.values(0).min(), let most = row.values(0).max() else {
            return [label, ##"<text x="\##(Plot.labels)" y="\##(middle)" fill="#999999">not available</text>"##]
        }
        let colour = row.name.contains("tcpcryptd") ? "#2f6fb0" : "#a9b4c0"
        let ends = (Double(Plot.labels) + least * scale, Double(Plot.labels) + most * scale)
        let line = y + Plot.barHeight / 2
        return [
            label,
            #"<rect x="\#(Plot.labels)" y="\#(y)" width="\#((median * scale).text(1))" height="\#(Plot.barHeight)" fill="\#(colour)"/>"#,
            ##"<path d="M\##(ends.0.text(1)) \##(line)H\##(ends.1.text(1))" stroke="#333333"/>"##,
            #"<text x="\#((max(ends.1, Double(Plot.labels) + median * scale) + 6).text(1))" y="\#(middle)">\#(median.text(metric.digits))</text>"#,
        ]
    }

    private static func escaped(_ text: String) -> String {
        text.reduce(into: "") { result, character in
            switch character {
            case "&": result += "&amp;"
            case "<": result += "&lt;"
            case ">": result += "&gt;"
            default: result.append(character)
            }
        }
    }
}
