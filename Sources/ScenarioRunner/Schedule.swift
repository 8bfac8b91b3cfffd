/// When a scenario may run.
public struct Terms: Equatable, Sendable {
    /// Beside no other one: it measures, or takes all of the machine.
    public var isAlone = false
    /// Before the others: it takes long.
    public var isEarly = false
    /// Seconds after which it is ended.
    public var limit = 400

    public init(isAlone: Bool = false, isEarly: Bool = false, limit: Int = 400) {
        self.isAlone = isAlone
        self.isEarly = isEarly
        self.limit = limit
    }
}

/// Which scenario begins next: the slow ones first, then the others by name, so many at once; those that run alone last.
public struct Schedule: Sendable {
    private var shared: [String]
    private var alone: [String]
    private let jobs: Int
    private var running = 0
    private var isOneAlone = false

    /// - Parameter jobs: how many run at once, at least 1.
    public init(_ scenarios: [(name: String, terms: Terms)], jobs: Int) {
        let sorted = scenarios.sorted { $0.name < $1.name }
        let others = sorted.filter { !$0.terms.isAlone }
        shared = (others.filter { $0.terms.isEarly } + others.filter { !$0.terms.isEarly }).map(\.name)
        alone = sorted.filter { $0.terms.isAlone }.map(\.name)
        self.jobs = max(1, jobs)
    }

    /// The next one that may begin now; nil while one has to end first, and when all have begun.
    public mutating func begin() -> String? {
        guard !isOneAlone else { return nil }
        if !shared.isEmpty {
            guard running < jobs else { return nil }
            running += 1
            return shared.removeFirst()
        }
        guard running == 0, !alone.isEmpty else { return nil }
        running = 1
        isOneAlone = true
        return alone.removeFirst()
    }

    /// One of those that began has ended.
    public mutating func end() {
        running -= 1
        isOneAlone = false
    }
}
