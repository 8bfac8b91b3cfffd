/// Reads what a scenario writes, a line at a time: `ok - `, `not ok - ` and `skip - ` begin an assertion, `# ` a note; lines of
/// `#   ` right after a failed assertion are its details. Everything else is for the log alone.
public struct OutputLines: Sendable {
    public private(set) var assertions: [Assertion] = []
    public private(set) var notes: [String] = []
    public private(set) var lastLines: [String] = []
    private var isInDetails = false
    private static let kept = 10

    public init() {}

    public init(text: String) {
        for line in text.split(separator: "\n", omittingEmptySubsequences: true) { add(String(line)) }
    }

    public mutating func add(_ line: String) {
        lastLines.append(line)
        if lastLines.count > OutputLines.kept { lastLines.removeFirst() }
        for (prefix, result) in [("ok - ", Assertion.Result.passed), ("not ok - ", .failed), ("skip - ", .skipped)]
        where line.hasPrefix(prefix) {
            assertions.append(Assertion(result, String(line.dropFirst(prefix.count))))
            isInDetails = result == .failed
            return
        }
        if isInDetails, line.hasPrefix("#   "), let last = assertions.indices.last {
            assertions[last].details.append(String(line.dropFirst(4)))
            return
        }
        isInDetails = false
        if line.hasPrefix("# ") { notes.append(String(line.dropFirst(2))) }
    }
}

extension Assertion {
    /// The same as lines of a log, which ``OutputLines`` reads back.
    public var lines: [String] {
        let word =
            switch result {
            case .passed: "ok"
            case .failed: "not ok"
            case .skipped: "skip"
            }
        return ["\(word) - \(title)"] + details.map { "#   \($0)" }
    }
}
