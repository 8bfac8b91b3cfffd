import Dispatch
import FlowEngine
import Foundation
import OpenSSLProvider
import PacketWire
import Synchronization
import Tcpcrypt
import TestSupport
import Testing

/// One that the thread sanitizer knows.
private final class Lock: SharedLock {
    private let lock = NSLock()

    func withLock(_ body: () -> Void) { lock.withLock(body) }

    func withoutLock(_ body: () -> Void) {
        lock.unlock()
        defer { lock.lock() }
        body()
    }
}

/// A lock of one thread that says whether it is held.
private final class VisibleLock: SharedLock {
    let isHeld = Atomic(false)

    func withLock(_ body: () -> Void) {
        isHeld.store(true, ordering: .relaxed)
        body()
        isHeld.store(false, ordering: .relaxed)
    }

    func withoutLock(_ body: () -> Void) {
        isHeld.store(false, ordering: .relaxed)
        body()
        isHeld.store(true, ordering: .relaxed)
    }
}

/// Notes in which state of the lock public keys are agreed on.
private final class WatchingProvider: ForwardingProvider {
    let base: any CryptoProvider = OpenSSLProvider()
    private let lock: VisibleLock
    let agreements = Atomic(0)
    let agreementsUnderLock = Atomic(0)

    init(_ lock: VisibleLock) { self.lock = lock }

    func keyPair(_ tep: TEP, _ random: any RandomSource) -> any EphemeralKeyPair {
        Pair(base: base.keyPair(tep, random), provider: self)
    }

    private final class Pair: EphemeralKeyPair {
        let base: any EphemeralKeyPair
        let provider: WatchingProvider

        init(base: any EphemeralKeyPair, provider: WatchingProvider) {
            self.base = base
            self.provider = provider
        }

        var publicKey: [UInt8] { base.publicKey }

        func agree(with peerKey: Span<UInt8>) -> Secret? {
            provider.agreements.add(1, ordering: .relaxed)
            if provider.lock.isHeld.load(ordering: .relaxed) { provider.agreementsUnderLock.add(1, ordering: .relaxed) }
            return base.agree(with: peerKey)
        }
    }
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

    /// A handshake of one worker keeps the others from theirs for as long as a key is looked up, not for as long as one is agreed on.
    @Test func publicKeysAreAgreedOnAsideOfTheLock() {
        let lock = VisibleLock()
        let provider = WatchingProvider(lock)
        let hosts = (0..<2).map { seed in
            TestHost(seed: UInt64(seed) + 1, shared: SharedState(crypto: provider, lock: lock), crypto: provider) {
                $0.resumption = false
            }
        }
        let pair = Pair(client: hosts[0], server: hosts[1])
        pair.connect()
        #expect(provider.agreements.load(ordering: .relaxed) == 2)
        #expect(provider.agreementsUnderLock.load(ordering: .relaxed) == 0)
        #expect(hosts.allSatisfy { $0.engine.counters.freshHandshakes == 1 })
    }

    /// Init2 does not wait for the acceptor's public-key operation, nor do other packets: it is due when they have been handled.
    @Test func init2LeavesFirst() {
        let lock = VisibleLock()
        let provider = WatchingProvider(lock)
        let server = TestHost(seed: 2, shared: SharedState(crypto: provider, lock: lock), crypto: provider)
        let pair = Pair(server: server)
        server.isPatient = true
        pair.connect()
        #expect(provider.agreements.load(ordering: .relaxed) == 0)
        #expect(pair.clientReport?.state == .encrypted)
        // What comes before the operation is done has to wait for no timer.
        pair.clientSends(1001, 5001, [.ack, .psh], [], [1, 2, 3])
        pair.settle()
        #expect(provider.agreements.load(ordering: .relaxed) == 1)
        #expect(server.takeKernel().flatMap(\.payload) == [1, 2, 3])
        #expect(pair.serverReport?.state == .encrypted)
    }

    @Test func theOperationIsDueAtOnce() {
        let server = TestHost(seed: 2)
        let pair = Pair(server: server)
        server.isPatient = true
        pair.connect()
        #expect(pair.serverReport?.state == .handshake)
        #expect(server.engine.nextDeadline == server.now)
        server.advance(milliseconds: 0)
        #expect(pair.serverReport?.state == .encrypted)
    }
}
