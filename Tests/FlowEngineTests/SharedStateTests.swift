import Dispatch
import FlowEngine
import Foundation
import OpenSSLProvider
import PacketWire
import Synchronization
import Testing

/// One that the thread sanitizer knows.
private final class Lock: SharedLock {
    private let lock = NSLock()

    func withLock(_ body: () -> Void) { lock.withLock(body) }
}

/// Engines of one host on threads of their own. (Worth running with `--sanitize=thread`.)
@Suite struct SharedStateTests {
    private static let threads = 4
    private static let connections = 60

    /// Connections of all threads resume what any of them began, and join what they know of, at once.
    @Test func enginesOnSeveralThreads() {
        let crypto = OpenSSLProvider()
        let clients = SharedState(crypto: crypto, lock: Lock())
        let servers = SharedState(crypto: crypto, lock: Lock())
        let encrypted = Atomic<Int>(0)
        let fresh = Atomic<Int>(0)
        DispatchQueue.concurrentPerform(iterations: Self.threads) { thread in
            let client = TestHost(seed: UInt64(thread) * 2 + 1, shared: clients)
            let server = TestHost(seed: UInt64(thread) * 2 + 2, shared: servers)
            for index in 0..<Self.connections {
                let port = UInt16(10_000 * (thread + 1) + index * 2)
                let pair = Pair(port: port, client: client, server: server)
                if index % 3 == 0 {
                    let multipath = Multipath(pair)
                    multipath.connect()
                    multipath.join(Pair(port: port + 1, client: client, server: server))
                } else {
                    pair.connect()
                    pair.clientSends(1001, 5001, [.ack, .psh, .fin], [], [1, 2, 3])
                    pair.settle()
                }
                _ = client.engine.connections()
                _ = server.engine.sessions(now: server.now)
            }
            let counters = server.engine.counters
            encrypted.add(Int(counters.freshHandshakes + counters.resumptions), ordering: .relaxed)
            fresh.add(Int(counters.freshHandshakes), ordering: .relaxed)
        }
        #expect(encrypted.load(ordering: .relaxed) == Self.threads * Self.connections)
        #expect(fresh.load(ordering: .relaxed) < Self.threads * Self.connections / 2)
    }
}
