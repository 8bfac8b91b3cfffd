import Synchronization
import Tcpcrypt
import Testing

@testable import FlowEngine

/// Which connections a key log hears of.
@Suite struct KeyLogTests {
    private final class Recorder: KeyLog {
        private let recorded = Mutex<[[UInt8]]>([])

        func append(_ line: Span<UInt8>) {
            let bytes = line.indices.map { line[$0] }
            recorded.withLock { $0.append(bytes) }
        }

        /// Label and session ID of each line.
        var lines: [[String]] {
            recorded.withLock { $0 }.map { line in
                let words = String(decoding: line.dropLast(), as: UTF8.self).split(separator: " ").map(String.init)
                return [words[0], words[words.count - 1]]
            }
        }
    }

    private func text(_ sessionID: [UInt8]?) -> String {
        (sessionID ?? []).map { ($0 < 16 ? "0" : "") + String($0, radix: 16) }.joined()
    }

    @Test func itHearsOfEachSubflowOnce() {
        let logs = (client: Recorder(), server: Recorder())
        let pair = Pair(
            client: TestHost(seed: 1, keyLog: logs.client), server: TestHost(seed: 2, keyLog: logs.server))
        let multipath = Multipath(pair)
        multipath.connect()
        #expect(logs.client.lines == [["TCPCRYPT_FRESH", text(pair.clientReport?.sessionID)]])
        let other = Pair(port: 40_001, client: pair.client, server: pair.server)
        multipath.join(other)
        #expect(pair.server.engine.counters.joins == 1)
        let resumed = Pair(port: 40_002, client: pair.client, server: pair.server)
        resumed.connect()
        #expect(logs.client.lines.map(\.[0]) == ["TCPCRYPT_FRESH", "TCPCRYPT_RESUMED", "TCPCRYPT_RESUMED"])
        #expect(logs.client.lines == logs.server.lines)
        let reported = pair.client.engine.connections().flatMap(\.subflows).map { text($0.sessionID) }
        #expect(Set(logs.client.lines.map(\.[1])) == Set(reported) && reported.count == 3)
    }

    @Test func itHearsNothingOfPlainConnections() {
        let log = Recorder()
        let pair = Pair(client: TestHost(seed: 1, keyLog: log), server: TestHost(seed: 2) { $0.teps = [] })
        pair.connect()
        #expect(pair.clientReport?.state == .plain)
        #expect(log.lines.isEmpty)
    }
}
