/// Rows of cells, printed in aligned columns two spaces apart.
struct Table {
    struct Cell {
        var text: String
        var tone: Style.Tone?

        init(_ text: String?, _ tone: Style.Tone? = nil) {
            self.text = text.map(Self.printable) ?? "-"
            self.tone = tone
        }

        /// Control characters could steer the terminal.
        private static func printable(_ text: String) -> String {
            String(String.UnicodeScalarView(text.unicodeScalars.filter { $0.properties.generalCategory != .control }))
        }
    }

    enum Alignment { case left, right }

    struct Column {
        var title: String
        var alignment = Alignment.left
    }

    let columns: [Column]
    private(set) var rows: [[Cell]] = []

    init(_ columns: [Column]) { self.columns = columns }

    /// - Parameter row: one cell for each column.
    mutating func append(_ row: [Cell]) { rows.append(row) }

    func text(_ style: Style) -> String {
        let header = columns.map { Cell($0.title, .heading) }
        let lines = [header] + rows
        let widths = columns.indices.map { column in
            lines.map { column < $0.count ? $0[column].text.count : 0 }.max() ?? 0
        }
        return lines.map { line($0, widths, style) }.joined(separator: "\n")
    }

    private func line(_ cells: [Cell], _ widths: [Int], _ style: Style) -> String {
        var text = ""
        var gap = ""
        for ((cell, column), width) in zip(zip(cells, columns), widths) {
            let space = String(repeating: " ", count: max(0, width - cell.text.count))
            let shown = style.paint(cell.text, cell.tone)
            // Space is written only before the next text, so that no line ends in it.
            if column.alignment == .right { gap += space }
            if !cell.text.isEmpty {
                text += gap + shown
                gap = ""
            }
            gap += (column.alignment == .left ? space : "") + "  "
        }
        return text
    }
}
