import ControlProtocol
import ControlServer
import Glibc
import TcpcryptClient
import Testing

@Suite struct RoundTripTests {
    @Test func everyRequestIsAnswered() async throws {
        try await ServerFixture.run { server in
            let status = try await server.client.status()
            #expect(status == Samples.status)
            let connections = try await server.client.connections()
            #expect(connections == [Samples.mptcp, Samples.plain])
            let sessions = try await server.client.sessions()
            #expect(sessions == [Samples.session])
            let flushSessions = try await server.client.flushSessions()
            #expect(flushSessions == 1)
            let flushOfOne = try await server.client.flushSessions(peer: "10.0.1.2")
            #expect(flushOfOne == 1)
            let counters = try await server.client.counters()
            #expect(counters == Samples.counters)
        }
    }

    @Test func onlyTheOwnerMayAsk() async throws {
        try await ServerFixture.run { server in
            #expect(ServerFixture.mode(of: server.path) == S_IFSOCK | 0o600)
            let directory = String(server.path.dropLast("/control.sock".count))
            #expect(ServerFixture.mode(of: directory) == S_IFDIR | 0o700)
        }
    }

    @Test func severalRequestsOnOneConnection() async throws {
        try await ServerFixture.run { server in
            let raw = RawClient(server.path)
            for request in Samples.requests {
                raw.send(request.line)
                #expect(await raw.readLine() == Samples.answer(request).json.text)
            }
        }
    }

    @Test func pipelinedRequestsAreAnsweredInOrder() async throws {
        try await ServerFixture.run { server in
            let raw = RawClient(server.path)
            raw.send(ControlRequest.sessions.line + ControlRequest.counters.line + ControlRequest.sessions.line)
            raw.finishSending()
            let expected = [ControlRequest.sessions, .counters, .sessions].map { Samples.answer($0).json.text + "\n" }
            #expect(await raw.readToEnd() == expected.joined())
        }
    }

    @Test func answersLargerThanTheSocketBuffer() async throws {
        let many = [ConnectionMessage](repeating: Samples.mptcp, count: 500)
        try await ServerFixture.run(answering: .connections(many)) { server in
            let connections = try await server.client.connections()
            #expect(connections == many)
        }
    }

    @Test func concurrentClients() async throws {
        try await ServerFixture.run { server in
            try await withThrowingTaskGroup(of: StatusMessage.self) { group in
                for _ in 0..<12 { group.addTask { try await server.client.status() } }
                for try await status in group { #expect(status == Samples.status) }
            }
        }
    }

    @Test func refusalsReachTheCaller() async throws {
        try await ServerFixture.run(answering: .error("not today")) { server in
            await #expect(throws: TcpcryptClientError.refused("not today")) { try await server.client.status() }
        }
    }

    @Test func anAnswerToAnotherRequestIsNotTaken() async throws {
        try await ServerFixture.run(answering: .flushed(1)) { server in
            await #expect(throws: TcpcryptClientError.self) { try await server.client.status() }
        }
    }

    @Test func aHandlerThatHangs() async throws {
        let hang: @Sendable (ControlRequest) async -> ControlResponse = { request in
            if request == .status { try? await Task.sleep(for: .seconds(600)) }
            return Samples.answer(request)
        }
        try await ServerFixture.run(handlerPatience: .seconds(3), answer: hang) { server in
            await #expect(throws: TcpcryptClientError.refused("the daemon is too busy to answer")) {
                try await server.client.status()
            }
            // On a loaded machine three seconds may be too short for any answer.
            #expect(await ServerFixture.waits { (try? await server.client.counters()) == Samples.counters })
        }
    }
}

@Suite struct SocketFileTests {
    private func server(_ path: String) -> ControlServer {
        ControlServer(path: path, logger: ServerFixture.silent) { Samples.answer($0) }
    }

    @Test func nobodyListens() async {
        let path = "/tmp/ControlTests.nobody/control.sock"
        await #expect(throws: TcpcryptClientError.notRunning(path: path)) { try await TcpcryptClient(path).status() }
    }

    @Test func impossiblePaths() async {
        let long = "/tmp/" + String(repeating: "x", count: 200)
        await #expect(throws: TcpcryptClientError.badPath(long)) { try await TcpcryptClient(long).status() }
        await #expect(throws: TcpcryptClientError.badPath("")) { try await TcpcryptClient("").status() }
        await #expect(throws: ControlServerError.pathTooLong(long)) { try await server(long).run() }
    }

    @Test func aLivingServerIsNotReplaced() async throws {
        try await ServerFixture.run { first in
            await #expect(throws: ControlServerError.inUse(first.path)) { try await server(first.path).run() }
            let counters = try await first.client.counters()
            #expect(counters == Samples.counters)
        }
    }

    @Test func aStaleSocketIsReplaced() async throws {
        let directory = ServerFixture.temporaryDirectory()
        let path = directory + "/control.sock"
        // Bound, never listening, closed: as a killed daemon leaves it.
        let stale = socket(AF_UNIX, Int32(SOCK_STREAM.rawValue), 0)
        var address = sockaddr_un()
        address.sun_family = sa_family_t(AF_UNIX)
        unsafe withUnsafeMutableBytes(of: &address.sun_path) { unsafe $0.copyBytes(from: path.utf8) }
        let bound = unsafe withUnsafePointer(to: address) { pointer in
            unsafe pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                unsafe bind(stale, $0, socklen_t(MemoryLayout<sockaddr_un>.size))
            }
        }
        #expect(bound == 0)
        _ = close(stale)
        let task = Task { try await server(path).run() }
        #expect(await ServerFixture.waits { (try? await TcpcryptClient(path).counters()) != nil })
        task.cancel()
        try await task.value
        #expect(unsafe rmdir(directory) == 0, "nothing is left behind")
    }

    @Test func aFileThatIsNoSocketIsLeftAlone() async throws {
        let directory = ServerFixture.temporaryDirectory()
        let path = directory + "/control.sock"
        _ = unsafe close(creat(path, 0o600))
        await #expect(throws: ControlServerError.notASocket(path)) { try await server(path).run() }
        #expect(unsafe unlink(path) == 0)
        _ = unsafe rmdir(directory)
    }

    @Test func failedCallsLeakNoDescriptors() async throws {
        // Other tests open descriptors meanwhile; a leak would be far more than theirs.
        for _ in 0..<1200 {
            await #expect(throws: TcpcryptClientError.self) {
                try await TcpcryptClient("/tmp/ControlTests.nobody/x").status()
            }
        }
        let next = dup(0)
        #expect(next < 600)
        _ = close(next)
    }
}
