import Synchronization
import Testing

@testable import DaemonCore

/// Randomness that comes after the daemon (RFC 8547 section 10).
@Suite struct SeedWatchTests {
    @Test func asksUntilThereIsSome() async {
        let asked = Asked()
        let watch = SeedWatch(isSeeded: { asked.next() > 3 }, pause: .milliseconds(1))
        #expect(await watch.wait())
        #expect(asked.count.withLock { $0 } == 4)
    }

    @Test func endsWithItsTask() async {
        let task = Task { await SeedWatch(isSeeded: { false }, pause: .seconds(1_000)).wait() }
        task.cancel()
        #expect(await task.value == false)
    }

    private final class Asked: Sendable {
        let count = Mutex(0)

        func next() -> Int {
            count.withLock { count in
                count += 1
                return count
            }
        }
    }
}
