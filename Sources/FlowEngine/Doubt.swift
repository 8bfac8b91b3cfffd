/// Whether the peer has gone: a reset of its came that was not at exactly the place it should have been.
struct Doubt: Sendable {
    /// When it came.
    let since: Instant
    /// When to ask again.
    private(set) var due: Instant
    /// It came with an MP_FASTCLOSE that holds our key: what answers the question may come from a kernel that has forgotten it.
    var isFastClose = false
    private var questions = 0

    private static let mostQuestions = 5
    private static let between: Int64 = 1_000

    init(_ now: Instant) {
        since = now
        due = now.adding(milliseconds: Self.between)
    }

    /// Notes a question; whether there is to be another one.
    mutating func next() -> Bool {
        questions += 1
        due = due.adding(milliseconds: Self.between)
        return questions < Self.mostQuestions
    }
}
