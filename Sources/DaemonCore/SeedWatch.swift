/// Asks again and again whether there is randomness.
struct SeedWatch: Sendable {
    let isSeeded: @Sendable () -> Bool
    var pause = Duration.milliseconds(200)

    /// Returns once there is, or with false where its task is cancelled.
    func wait() async -> Bool {
        while !isSeeded() {
            guard (try? await Task.sleep(for: pause)) != nil else { return false }
        }
        return true
    }
}
