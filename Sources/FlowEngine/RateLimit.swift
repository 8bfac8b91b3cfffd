/// So many a second, and so many at once after a pause: what strangers can cause and what costs more than a look.
struct RateLimit: Sendable {
    private let interval: Int64
    private let burst: Int
    /// When all of `burst` is there again.
    private var full = Instant(nanoseconds: .min / 2)

    init(perSecond: Int, burst: Int) {
        interval = 1_000_000_000 / Int64(max(1, perSecond))
        self.burst = max(1, burst)
    }

    func hasRoom(_ now: Instant) -> Bool {
        full.nanoseconds <= now.nanoseconds &+ interval &* Int64(burst - 1)
    }

    /// Counts one; false where there have been too many.
    mutating func admit(_ now: Instant) -> Bool {
        guard hasRoom(now) else { return false }
        full.nanoseconds = max(full.nanoseconds, now.nanoseconds) &+ interval
        return true
    }
}
