/// What the comment at the head of a bash scenario says: its first sentence is the title, and lines `# scenario: WORD...` its terms.
///
///     # scenario: alone early limit 600
public struct ScriptHeader: Equatable, Sendable {
    public var title = ""
    /// The first paragraph.
    public var text = ""
    public var terms = Terms()

    public init() {}

    /// - Throws: ``ScenarioProblem`` for a `# scenario:` line that cannot be understood.
    public init(_ script: String, file: String) throws(ScenarioProblem) {
        var paragraph: [Substring] = []
        var isOver = false
        for (index, line) in script.split(separator: "\n", omittingEmptySubsequences: false).enumerated() {
            guard line.hasPrefix("#") else { break }
            let words = line.dropFirst().drop { $0 == " " }
            if line.hasPrefix("#!") {
                continue
            } else if words.hasPrefix("scenario:") {
                try read(
                    words.dropFirst("scenario:".count).split(separator: " ").map(String.init), file: file,
                    line: index + 1)
            } else if words.isEmpty {
                isOver = !paragraph.isEmpty
            } else if !isOver {
                paragraph.append(words)
            }
        }
        text = paragraph.joined(separator: " ")
        title = ScriptHeader.firstSentence(of: text)
    }

    private mutating func read(_ words: [String], file: String, line: Int) throws(ScenarioProblem) {
        var rest = words[...]
        while let word = rest.popFirst() {
            switch word {
            case "alone": terms.isAlone = true
            case "early": terms.isEarly = true
            case "limit":
                guard let seconds = rest.popFirst().flatMap({ Int($0) }), seconds > 0 else {
                    throw ScenarioProblem(file: file, line: line, "limit wants a number of seconds")
                }
                terms.limit = seconds
            default:
                throw ScenarioProblem(
                    file: file, line: line, "no such word: \(word)" + hint(word, among: ["alone", "early", "limit"]))
            }
        }
    }

    /// Up to the first full stop that ends one.
    static func firstSentence(of text: String) -> String {
        guard
            let stop = text.ranges(of: ". ").first?.lowerBound
                ?? (text.hasSuffix(".") ? text.index(before: text.endIndex) : nil)
        else { return text }
        return String(text[..<stop])
    }
}
