import FlowEngine
import NetfilterQueue
import PacketWire
import Testing

@testable import DaemonCore

@Suite struct SurveyTests {
    private func socket(_ port: UInt16, _ tokens: TCPSocket.Tokens?) -> TCPSocket {
        TCPSocket(
            local: Endpoint(address: IPAddress(ipv4: 1), port: port),
            remote: Endpoint(address: IPAddress(ipv4: 2), port: 80), interface: 0, state: 1, tokens: tokens)
    }

    @Test func plainConnectionsAreAllButTheCondemned() {
        let survey = SocketSurvey(sockets: [
            socket(1, nil), socket(2, .init(local: 10, remote: 0)), socket(3, .init(local: 10, remote: 20)),
            socket(4, .init(local: 11, remote: 21)), socket(5, .init(local: 11, remote: 21)),
        ])
        let condemned = CondemnedFlow(
            tuple: FlowTuple(local: socket(5, nil).local, remote: socket(5, nil).remote), keys: nil)
        let tokens = survey.plainTokens(except: [condemned])
        #expect(tokens.count == 1)
        #expect(tokens.first?.local == 10)
        #expect(tokens.first?.remote == 20)
        #expect(survey.tuples.count == 5)
    }

    /// Of an encrypted connection that lost its last subflow nothing is known but that its kernel tries to join it again.
    @Test func anAttemptToJoinIsNoWitness() {
        for state in 1...11 as ClosedRange<UInt8> {
            var attempt = socket(1, .init(local: 10, remote: 20))
            attempt.state = state
            #expect(SocketSurvey(sockets: [attempt]).plainTokens(except: []).count == (state == 1 ? 1 : 0))
        }
    }

    @Test func halfOpenConnectionsAreThoseInSYNReceived() {
        var sockets = (1...11).map { socket($0, nil) }
        for index in sockets.indices { sockets[index].state = UInt8(index + 1) }
        #expect(SocketSurvey(sockets: sockets).halfOpen.map(\.local.port) == [3])
    }

    @Test func onlyOneDaemonPerDirectory() throws {
        let file = TemporaryFile()
        let path = file.directory + "/net-1"
        let first = try RuntimeDirectory(path: path)
        #expect(throws: RuntimeDirectoryError.self) { _ = try RuntimeDirectory(path: path) }
        first.removeIfEmpty()
        let second = try RuntimeDirectory(path: path)
        second.removeIfEmpty()
    }
}

@Suite struct LatchTests {
    @Test func everyWaiterIsTold() async throws {
        let latch = Latch()
        async let first: Void = latch.wait()
        async let second: Void = latch.wait()
        latch.open(.success(()))
        latch.open(.failure(CancellationError()))
        _ = try await (first, second)
        try await latch.wait()
    }

    @Test func aCancelledWaiterLeaves() async {
        let latch = Latch()
        let waiter = Task { try await latch.wait() }
        waiter.cancel()
        await #expect(throws: CancellationError.self) { try await waiter.value }
    }
}
