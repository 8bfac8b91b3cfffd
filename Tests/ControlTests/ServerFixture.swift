import ControlProtocol
import ControlServer
import Glibc
import Logging
import TcpcryptClient
import Testing

/// A server on a socket in a directory of its own, for the time of `body`.
struct ServerFixture {
    let path: String
    var client: TcpcryptClient { TcpcryptClient(path, patience: Self.long) }

    /// Longer than anything takes while other tests keep every core and every thread of the tasks' pool busy.
    static let long = Duration.seconds(300)

    static func run(
        patience: Duration = long, handlerPatience: Duration = long,
        answer: @escaping @Sendable (ControlRequest) async -> ControlResponse = { Samples.answer($0) },
        _ body: (ServerFixture) async throws -> Void
    ) async throws {
        let directory = temporaryDirectory()
        defer { _ = unsafe rmdir(directory) }
        // The server makes the directory itself.
        let path = directory + "/run/control.sock"
        let server = ControlServer(
            path: path, logger: silent, patience: patience, handlerPatience: handlerPatience, handler: answer)
        let task = Task { try await server.run() }
        let fixture = ServerFixture(path: path)
        await fixture.waitUntilUp()
        try await body(fixture)
        task.cancel()
        try await task.value
        #expect(mode(of: directory + "/run") == nil, "the socket is removed, and the directory made for it")
    }

    /// A server with one answer to everything.
    static func run(answering response: ControlResponse, _ body: (ServerFixture) async throws -> Void) async throws {
        let answer: @Sendable (ControlRequest) async -> ControlResponse = { _ in response }
        try await run(answer: answer, body)
    }

    static let silent = Logger(label: "test", factory: { _ in SwiftLogNoOpLogHandler() })

    private func waitUntilUp() async {
        let isUp = await Self.waits {
            do throws(TcpcryptClientError) {
                _ = try await client.counters()
                return true
            } catch {
                if case .notRunning = error { return false }
                return true
            }
        }
        #expect(isUp, "the server listens")
    }

    /// Asks until `condition` holds; false where it does not within five minutes.
    static func waits(until condition: () async -> Bool) async -> Bool {
        let end = ContinuousClock.now + long
        while ContinuousClock.now < end {
            if await condition() { return true }
            try? await Task.sleep(for: .milliseconds(10))
        }
        return false
    }

    static func temporaryDirectory() -> String {
        var name = Array("/tmp/ControlTests.XXXXXX".utf8CString)
        guard let made = unsafe mkdtemp(&name) else { return "/nonexistent" }
        return unsafe String(cString: made)
    }

    /// The type and permission bits of a file; `nil` where there is none.
    static func mode(of path: String) -> UInt32? {
        var status = stat()
        return unsafe lstat(path, &status) == 0 ? status.st_mode : nil
    }
}
