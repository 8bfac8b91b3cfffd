import ControlProtocol
import TcpcryptClient
import Testing

@Suite struct HostileClientTests {
    private let fine = Samples.answer(.counters).json.text

    /// Whatever the hostile client did, an honest one is still served, at once or when its places are free again.
    private func expectAlive(_ server: ServerFixture) async {
        let isServed = await ServerFixture.waits { (try? await server.client.counters()) == Samples.counters }
        #expect(isServed)
    }

    @Test func aLineTooLong() async throws {
        try await ServerFixture.run { server in
            let raw = RawClient(server.path)
            raw.send([UInt8](repeating: 0x20, count: 5000))
            #expect(await raw.readToEnd().contains("longer than 4096 bytes"))
            await expectAlive(server)
        }
    }

    @Test func aLineOfExactlyTheLimit() async throws {
        try await ServerFixture.run { server in
            let request = ControlRequest.counters.json.text
            let raw = RawClient(server.path)
            raw.send(request + String(repeating: " ", count: 4096 - request.utf8.count) + "\n")
            #expect(await raw.readLine() == fine)
        }
    }

    @Test(
        "garbage is refused with a reason",
        arguments: [
            "\n", "hello\n", "{}\n", "[]\n", "null\n", "{\"request\":\"reboot\"}\n", "{\"request\":1}\n",
            "\u{0}\u{0}\n", String(repeating: "[", count: 4000) + "\n",
        ])
    func garbage(text: String) async throws {
        try await ServerFixture.run { server in
            let raw = RawClient(server.path)
            raw.send(text)
            let answer = await raw.readToEnd()
            let response = try ControlResponse(line: Array(answer.utf8.dropLast()), limit: 1 << 16)
            guard case .error(let reason) = response else { return #expect(Bool(false), "\(answer)") }
            #expect(reason.hasPrefix("request not understood"))
            await expectAlive(server)
        }
    }

    @Test func bytesThatAreNoText() async throws {
        try await ServerFixture.run { server in
            let raw = RawClient(server.path)
            raw.send((0...255).map { $0 == 0x0A ? 0xFF : UInt8($0) } + [0x0A])
            #expect(await raw.readToEnd().contains("request not understood"))
            await expectAlive(server)
        }
    }

    @Test func halfALineThenTheEnd() async throws {
        try await ServerFixture.run { server in
            let raw = RawClient(server.path)
            raw.send("{\"request\":\"coun")
            raw.finishSending()
            #expect(await raw.readToEnd() == "")
            await expectAlive(server)
        }
    }

    @Test func leavingBeforeTheAnswer() async throws {
        try await ServerFixture.run { server in
            for _ in 0..<100 { RawClient(server.path).send(ControlRequest.connections.line) }
            await expectAlive(server)
        }
    }

    @Test func byteByByte() async throws {
        try await ServerFixture.run { server in
            let raw = RawClient(server.path)
            for byte in ControlRequest.counters.line { raw.send([byte]) }
            #expect(await raw.readLine() == fine)
        }
    }

    @Test func silenceIsNotWaitedForLong() async throws {
        try await ServerFixture.run(patience: .seconds(1)) { server in
            let silent = RawClient(server.path)
            let slow = RawClient(server.path)
            slow.send("{")
            #expect(await silent.readToEnd() == "")
            #expect(await slow.readToEnd() == "")
            await expectAlive(server)
        }
    }

    @Test func aReaderThatDoesNotRead() async throws {
        let many = [ConnectionMessage](repeating: Samples.mptcp, count: 1000)
        let answer: @Sendable (ControlRequest) async -> ControlResponse = { request in
            request == .connections ? .connections(many) : Samples.answer(request)
        }
        try await ServerFixture.run(patience: .seconds(3), answer: answer) { server in
            let lazy = RawClient(server.path)
            lazy.send(ControlRequest.connections.line)
            await expectAlive(server)
            #expect(await lazy.waitUntilDropped())
            // Dropped in the middle: what the socket's buffer held, and the end.
            let text = await lazy.readToEnd()
            #expect(text.hasPrefix("{") && !text.hasSuffix("\n"))
        }
    }

    @Test func seventeenClients() async throws {
        try await ServerFixture.run { server in
            let crowd = (0..<16).map { _ in RawClient(server.path) }
            // Answered, so all of them are in.
            for client in crowd { client.send(ControlRequest.counters.line) }
            for client in crowd { #expect(await client.readLine() == fine) }
            let seventeenth = RawClient(server.path)
            #expect(await seventeenth.readToEnd().contains("too many clients at once (16)"))
            crowd[3].send(ControlRequest.counters.line)
            #expect(await crowd[3].readLine() == fine)
        }
    }
}
