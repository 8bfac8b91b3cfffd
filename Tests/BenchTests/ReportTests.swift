import Testing

@testable import tcpcrypt_bench

/// What a run's numbers become: medians, relations within a round, comparisons and plots.
@Suite struct ReportTests {
    private static func table(_ rows: [Row], _ metric: Metric = Metric(name: "speed", unit: "1/s")) -> MeasuredTable {
        MeasuredTable(
            name: "t", title: "T", note: "", metrics: [metric], references: ["plain"], relation: .ratio, rows: rows)
    }

    private static func report(_ rows: [Row], _ metric: Metric = Metric(name: "speed", unit: "1/s")) -> Report {
        Report(machine: "m", date: "d", rounds: 3, seconds: 1, othersBusy: 0, tables: [table(rows, metric)])
    }

    private static func row(_ name: String, _ values: Double?...) -> Row {
        Row(name: name, rounds: values.map { [$0] })
    }

    @Test(
        arguments: [
            ([], nil), ([4], 4), ([3, 1, 2], 2), ([4, 1, 3, 2], 2.5), ([1, .nan, 3], 2),
        ] as [([Double], Double?)])
    func `the median leaves out what is no number`(values: [Double], median: Double?) {
        #expect(values.median == median)
    }

    @Test func `ratios are taken within a round`() {
        // The machine became three times slower: the medians alone would say 1.5.
        let plain = Self.row("plain", 10, 100, 20)
        let mine = Self.row("mine", 5, 30, 10)
        #expect(mine.comparison(to: plain, 0, .ratio) == 0.5)
        #expect(mine.comparison(to: plain, 0, .difference) == -10)
    }

    @Test func `rounds that failed on either side do not count`() {
        let plain = Self.row("plain", nil, 100, 20, 0)
        let mine = Self.row("mine", 5, nil, 10, 7)
        #expect(mine.comparison(to: plain, 0, .ratio) == 0.5)
        #expect(Self.row("none", nil, nil).comparison(to: plain, 0, .ratio) == nil)
    }

    @Test func `a row that could not be measured says why`() {
        var missing = Self.row("wireguard-go", nil)
        missing.problem = "not available: wg is not installed"
        let text = TextReport(report: Self.report([Self.row("plain", 8), missing])).text
        #expect(text.contains("wireguard-go: not available: wg is not installed"))
        #expect(text.contains("8.00"))
    }

    @Test(arguments: [(12.0, true, "+"), (12.0, false, "!"), (8.0, true, "!"), (8.0, false, "+"), (10.9, true, "")])
    func `changes over a tenth are marked by what they mean`(value: Double, isBetterHigh: Bool, mark: String) {
        let metric = Metric(name: "speed", unit: "1/s", isBetterHigh: isBetterHigh)
        let comparison = Comparison(
            old: Self.report([Self.row("plain", 10)], metric), new: Self.report([Self.row("plain", value)], metric))
        let line = comparison.text.split(separator: "\n").first { $0.contains("plain") } ?? ""
        #expect(line.contains((value / 10).text(2)))
        #expect(line.contains("+") == (mark == "+"))
        #expect(line.contains("!") == (mark == "!"))
    }

    @Test func `columns are as wide as their longest cell`() {
        #expect(Columns.aligned([["", "a"], ["name", "100"]]) == ["        a", "name  100"])
    }

    @Test func `a plot shows every row and escapes names`() {
        let plot = Plot(table: Self.table([Self.row("a < b & c", 1, 2, 3), Self.row("nothing", nil)])).svg
        #expect(plot.contains("a &lt; b &amp; c"))
        #expect(plot.contains("not available"))
    }

    @Test func `names of tables and of their rows are unique, and references are rows`() {
        let tables = TableSpecification.all
        #expect(Set(tables.map(\.name)).count == tables.count)
        for table in tables {
            let names = table.rows.map(\.name)
            #expect(Set(names).count == names.count, "\(table.name)")
            #expect(Set(names).isSuperset(of: table.references), "\(table.name)")
        }
    }
}
