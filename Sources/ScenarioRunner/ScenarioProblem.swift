/// What is wrong with a scenario, and where.
public struct ScenarioProblem: Error, Equatable, Sendable, CustomStringConvertible {
    public var file: String
    /// From 1; 0 for the file as a whole.
    public var line: Int
    /// From 1; 0 for the line as a whole.
    public var column: Int
    public var message: String

    public init(file: String, line: Int = 0, column: Int = 0, _ message: String) {
        self.file = file
        self.line = line
        self.column = column
        self.message = message
    }

    public var description: String {
        let place = line == 0 ? file : column == 0 ? "\(file):\(line)" : "\(file):\(line):\(column)"
        return "\(place): \(message)"
    }
}

/// `; did you mean ...?` where one of the words is near to what was written, otherwise what there is.
func hint(_ word: String, among words: [String]) -> String {
    let near = words.sorted().filter { isNear(word, $0) }.min { distance(word, $0) < distance(word, $1) }
    if let near { return "; did you mean \(near)?" }
    return words.isEmpty ? "" : "; there are \(words.sorted().joined(separator: ", "))"
}

func isNear(_ one: String, _ other: String) -> Bool { distance(one, other) <= max(1, one.count / 3) }

/// How many characters have to be changed, put in, taken out or exchanged with their neighbour to make one word of the other.
private func distance(_ one: String, _ other: String) -> Int {
    let (one, other) = (Array(one), Array(other))
    var rows = Array(repeating: Array(repeating: 0, count: other.count + 1), count: one.count + 1)
    for i in 0...one.count { rows[i][0] = i }
    for j in 0...other.count { rows[0][j] = j }
    for i in one.indices {
        for j in other.indices {
            let change = rows[i][j] + (one[i] == other[j] ? 0 : 1)
            rows[i + 1][j + 1] = min(change, rows[i][j + 1] + 1, rows[i + 1][j] + 1)
            if i > 0, j > 0, one[i] == other[j - 1], one[i - 1] == other[j] {
                rows[i + 1][j + 1] = min(rows[i + 1][j + 1], rows[i - 1][j - 1] + 1)
            }
        }
    }
    return rows[one.count][other.count]
}
