/// What became of one thing that a scenario asserts.
public struct Assertion: Equatable, Sendable {
    public enum Result: String, Sendable { case passed, failed, skipped }

    public var result: Result
    public var title: String
    /// What was seen, line by line; only where it failed.
    public var details: [String] = []

    public init(_ result: Result, _ title: String, details: [String] = []) {
        self.result = result
        self.title = title
        self.details = details
    }
}

/// How a scenario came to its end.
public enum Ending: Equatable, Sendable {
    /// With an exit status; 128 + signal for a process that a signal ended.
    case exited(Int32)
    /// It took longer than it may.
    case timedOut(seconds: Int)
    /// Whoever started the run asked for its end.
    case interrupted
}

extension Ending: CustomStringConvertible {
    public var description: String {
        switch self {
        case .exited(let status): "status \(status)"
        case .timedOut(let seconds): "ended after \(seconds) s, its limit"
        case .interrupted: "interrupted"
        }
    }
}

/// A scenario's run, as reports tell it.
public struct Outcome: Equatable, Sendable {
    public var name: String
    public var title: String
    public var assertions: [Assertion]
    /// Lines that assert nothing: measurements, drawings, where a log is.
    public var notes: [String]
    public var ending: Ending
    public var seconds: Double
    /// The last lines of what it wrote, for who ends without saying why.
    public var lastLines: [String]

    public init(
        name: String, title: String, assertions: [Assertion] = [], notes: [String] = [], ending: Ending = .exited(0),
        seconds: Double = 0, lastLines: [String] = []
    ) {
        self.name = name
        self.title = title
        self.assertions = assertions
        self.notes = notes
        self.ending = ending
        self.seconds = seconds
        self.lastLines = lastLines
    }

    public func count(_ result: Assertion.Result) -> Int { assertions.count { $0.result == result } }
    /// Nothing failed, it came to its end, and it said something.
    public var isGood: Bool { count(.failed) == 0 && ending == .exited(0) && !assertions.isEmpty }
    /// What fails without an assertion to show for it counts as one.
    public var failures: Int { isGood ? 0 : max(1, count(.failed)) }
    /// Why it is not good although no assertion failed.
    public var complaint: String? {
        guard !isGood, count(.failed) == 0 else { return nil }
        return ending == .exited(0) ? "it asserted nothing" : "\(ending)"
    }
    /// What it wrote last, where nothing else says why it failed.
    public var lastWords: [String] { complaint == nil || ending == .interrupted ? [] : lastLines }
}

/// The numbers of a whole run.
public struct Totals: Equatable, Sendable {
    public var passed = 0
    public var failed = 0
    public var skipped = 0

    public init(_ outcomes: [Outcome]) {
        for outcome in outcomes {
            passed += outcome.count(.passed)
            failed += outcome.failures
            skipped += outcome.count(.skipped)
        }
    }

    /// - Parameter requiresAll: what was skipped counts as failed.
    public func isGood(requiresAll: Bool) -> Bool { failed == 0 && !(requiresAll && skipped > 0) }
}
