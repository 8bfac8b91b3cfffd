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
    let near = words.map { (distance(word, $0), $0) }.min { $0.0 < $1.0 }
    if let near, near.0 <= max(1, word.count / 3) { return "; did you mean \(near.1)?" }
    return words.isEmpty ? "" : "; there are \(words.sorted().joined(separator: ", "))"
}

/// How many characters have to be changed, put in or taken out to make one word of the other.
private func distance(_ one: String, _ other: String) -> Int {
    let other = Array(other)
    var row = Array(0...other.count)
    for (i, character) in one.enumerated() {
        var diagonal = row[0]
        row[0] = i + 1
        for (j, against) in other.enumerated() {
            let cost = diagonal + (character == against ? 0 : 1)
            diagonal = row[j + 1]
            row[j + 1] = min(cost, row[j] + 1, row[j + 1] + 1)
        }
    }
    return row[other.count]
}
