import OpenSSLProvider
import PacketWire
import Tables
import Tcpcrypt
import Testing

@testable import FlowEngine

/// Every bound of what anybody can make a host keep or do, driven past by those who would.
@Suite(.serialized) struct FloodTests {
    private let here = Endpoint(address: IPAddress(ipv4: 0x0a00_0002), port: 80)

    private func there(_ number: Int) -> Endpoint {
        Endpoint(address: IPAddress(ipv4: 0x0a60_0000 &+ UInt32(number)), port: 7)
    }

    private func key(_ number: Int) -> [UInt8] {
        [30, 12, 0x01, 1] + [0, 0, 0, 0] + UInt32(truncatingIfNeeded: number).bigEndianBytes
    }
    private let capable: [UInt8] = [30, 4, 0x01, 1]
    private let eno: [UInt8] = [69, 3, 0x23]

    /// A SYN and the kernel's answer to it; whether the answer offers encryption.
    private func open(_ host: TestHost, _ number: Int, _ options: [UInt8] = [], _ answer: [UInt8] = []) -> Bool {
        host.arrive(there(number), here, 1, 0, .syn, mss + options + eno)
        host.leave(here, there(number), 5000, 2, [.syn, .ack], mss + answer)
        _ = host.takeKernel()
        host.actions = []
        return host.takeSeen().last?.hasENO == true
    }

    // MARK: Flows

    /// Newcomers are plain while those who have a place have had no time to come back, and get theirs afterwards.
    @Test func halfOpenFlowsAreLimited() {
        let host = TestHost(seed: 1) { $0.maximumUnprovenFlows = 100 }
        let encrypted = (0..<5_000).count { open(host, $0) }
        #expect(encrypted == 100)
        #expect(host.engine.flows.count == 100)
        host.advance(milliseconds: UnprovenFlows.patience)
        #expect(open(host, 5_000))
        #expect(host.engine.flows.count == 100)
        // The oldest has lost its place: its third ACK is refused, since it may go on encrypted.
        host.arrive(there(0), here, 2, 5001, [.ack, .psh], [69, 2], [1])
        #expect(host.takeKernel().isEmpty && host.takeSeen().last?.packet.flags.contains(.rst) == true)
    }

    /// Nor does it help to take the third step and stop there.
    @Test func silentConnectionsAreLimited() {
        let host = TestHost(seed: 1) { $0.maximumUnprovenFlows = 100 }
        for number in 0..<1_000 {
            if number % 100 == 0 { host.advance(milliseconds: UnprovenFlows.patience) }
            _ = open(host, number)
            host.arrive(there(number), here, 2, 5001, .ack, [69, 2])
        }
        #expect(host.engine.flows.count == 100)
        host.advance(milliseconds: FlowTime.proof)
        #expect(host.engine.flows.isEmpty)
    }

    /// Encrypted connections have a place that nobody can take.
    @Test func aFloodLeavesEncryptedConnectionsAlone() throws {
        let host = TestHost(seed: 1) { $0.maximumUnprovenFlows = 100 }
        let friend = HandMade(host)
        friend.open()
        for number in 0..<1_000 {
            host.advance(milliseconds: 100)
            _ = open(host, number)
        }
        let start = friend.seq
        friend.send(friend.frame([1, 2, 3]), at: start)
        #expect(host.takeKernel().last?.payload == [1, 2, 3])
    }

    @Test func garbageLeavesNothingBehind() {
        let host = TestHost(seed: 1)
        for number in 0..<1_000 {
            _ = open(host, number)
            host.arrive(there(number), here, 2, 5001, [.ack, .psh], [69, 2], [UInt8](repeating: 9, count: 75))
        }
        #expect(host.engine.flows.isEmpty)
        // Its peer is refused all the same.
        _ = host.takeSeen()
        host.advance(milliseconds: 10_000)
        host.arrive(there(7), here, 2, 5001, [.ack, .psh], [], [1])
        #expect(host.takeKernel().isEmpty && host.takeSeen().last?.packet.flags.contains(.rst) == true)
    }

    @Test func plainConnectionsAreRemembered4096AtMost() {
        let host = TestHost(seed: 1)
        for number in 0..<50_000 {
            host.arrive(there(number % 5_000), here, UInt32(number), 0, .syn, mss)
            host.output.reset()
            host.actions = []
            host.toKernel = []
        }
        #expect(host.engine.plainFlows.values.count <= 4_096)
        #expect(host.engine.plainFlows.entries <= 2 * 4_096)
        #expect(host.engine.flows.isEmpty)
    }

    // MARK: MPTCP

    /// A half-open connection that is forgotten leaves no token behind.
    @Test func halfOpenMPTCPConnectionsAreForgotten() {
        let host = TestHost(seed: 1) { $0.maximumUnprovenFlows = 100 }
        for number in 0..<5_000 {
            host.advance(milliseconds: 50)
            #expect(open(host, number, capable, key(number)))
        }
        #expect(host.engine.flows.count == 100)
        var count = 0
        host.engine.host.locked { count = host.engine.host.tracker.count }
        #expect(count <= 100)
    }

    @Test func connectionsWithoutSubflowsAreLimited() {
        var tracker = MPTCPTracker()
        let now = Instant(nanoseconds: 0)
        for number in 0..<10_000 as Range<UInt64> {
            let connection = MPTCPConnection(isOpener: false)
            tracker.learn(number, of: .outbound, for: connection, crypto: OpenSSLProvider())
            connection.protection = .encrypted
            connection.subflows = 0
            tracker.noteEmpty(connection, now: now)
        }
        #expect(tracker.count == JoinPolicy.mostEmpty)
        let later = now.adding(milliseconds: JoinPolicy.makeAfterBreakMilliseconds + 1)
        let isMore = tracker.expire(now: later, atMost: 10_000)
        #expect(!isMore && tracker.count == 0)
    }

    /// One that was joined again while it waited stays.
    @Test func joinedAgainIsNotEmpty() {
        var tracker = MPTCPTracker()
        let connection = MPTCPConnection(isOpener: false)
        tracker.learn(1, of: .outbound, for: connection, crypto: OpenSSLProvider())
        connection.protection = .encrypted
        connection.subflows = 0
        tracker.noteEmpty(connection, now: Instant(nanoseconds: 0))
        connection.subflows = 1
        let isMore = tracker.expire(now: Instant(nanoseconds: 0).adding(milliseconds: 200_000), atMost: 10)
        #expect(!isMore && tracker.count == 1)
    }

    @Test func claimsOfOneTokenAreLimited() {
        var tracker = MPTCPTracker()
        var connections: [MPTCPConnection] = []
        for _ in 0..<1_000 {
            let connection = MPTCPConnection(isOpener: false)
            tracker.learn(77, of: .inbound, for: connection, crypto: OpenSSLProvider())
            connections.append(connection)
        }
        #expect(tracker.count == JoinPolicy.mostClaims)
        for connection in connections { tracker.forget(connection) }
        #expect(tracker.count == 0)
    }

    // MARK: Work

    @Test func keyExchangesAreRationed() throws {
        let host = TestHost(seed: 1) { $0.maximumKeyExchangesPerSecond = 9 }
        let late = (0..<40).map { HandMade(host, port: UInt16(100 + $0)) }
        let transcripts = late.map { $0.openTCP() }
        let exchanges = transcripts.map {
            KeyExchangeA(
                tep: .curve25519, aeads: [.aes128GCM], transcript: $0, crypto: OpenSSLProvider(),
                random: CountingRandom(9))
        }
        for (client, exchange) in zip(late, exchanges) { client.send(exchange.init1, at: 1001) }
        #expect(host.engine.counters.freshHandshakes == 12)
        #expect(host.engine.counters.keyExchangesPutOff == 28)
        #expect(host.held == 0)
        // Whoever comes now is not offered what cannot be kept.
        #expect(!open(host, 1))
        // The others' messages come again.
        for _ in 0..<4 {
            host.advance(milliseconds: 1_000)
            for (client, exchange) in zip(late, exchanges) { client.send(exchange.init1, at: 1001) }
        }
        #expect(host.engine.counters.freshHandshakes == 40)
        #expect(open(host, 2))
    }

    /// Public-key operations are done a few at a time: packets come first.
    @Test func keysAreAgreedOnInParts() {
        let host = TestHost(seed: 1)
        host.isPatient = true
        let clients = (0..<10).map { HandMade(host, port: UInt16(100 + $0)) }
        for client in clients {
            let exchange = KeyExchangeA(
                tep: .curve25519, aeads: [.aes128GCM], transcript: client.openTCP(), crypto: OpenSSLProvider(),
                random: CountingRandom(9))
            client.send(exchange.init1, at: 1001)
        }
        #expect(host.engine.counters.freshHandshakes == 0)
        for done in [4, 8, 10] {
            #expect(host.engine.nextDeadline == host.now)
            host.advance(milliseconds: 0)
            #expect(host.engine.counters.freshHandshakes == done)
        }
    }

    @Test func refusalsAreRationed() {
        let host = TestHost(seed: 1)
        for number in 0..<5_000 { host.arrive(there(number), here, 1, 0, .syn, mss + joinSYN([1, 2, 3, 4])) }
        #expect(host.takeWire().count == 1_000)
        host.advance(milliseconds: 100)
        for number in 0..<5_000 { host.arrive(there(number), here, 1, 0, .syn, mss + joinSYN([1, 2, 3, 4])) }
        #expect(host.takeWire().count == 100)
        #expect(host.takeKernel().isEmpty && host.engine.flows.isEmpty)
    }

    @Test func aRateIsARate() {
        var limit = RateLimit(perSecond: 1_000, burst: 5)
        var now = Instant(nanoseconds: 0)
        #expect((0..<100).count { _ in limit.admit(now) } == 5)
        now = now.adding(milliseconds: 3)
        #expect(limit.hasRoom(now))
        #expect((0..<100).count { _ in limit.admit(now) } == 3)
        now = now.adding(milliseconds: 3_600_000)
        #expect((0..<100).count { _ in limit.admit(now) } == 5)
    }

    /// A crowd of deadlines is met in parts.
    @Test func deadlinesComeInParts() {
        let host = TestHost(seed: 1)
        for number in 0..<3_000 { _ = open(host, number) }
        host.advance(milliseconds: 150_000)
        #expect(host.engine.flows.count == 3_000 - Chores.deadlines)
        for _ in 0..<3_000 / Chores.deadlines {
            #expect(host.engine.nextDeadline.map { $0 <= host.now } == true)
            host.advance(milliseconds: 0)
        }
        #expect(host.engine.flows.isEmpty)
    }

    @Test func theOutputGivesBackWhatItNeededOnce() {
        var output = Output()
        _ = output.allocate(8 << 20)
        output.reset()
        #expect(output.bytes.count <= 4 << 20)
    }
}

/// What is held in packets has a weight as well.
@Suite struct HeldWeightTests {
    /// A peer with keys that sends one overlapping packet after the other.
    @Test func heldBytesAreLimited() throws {
        let host = TestHost(seed: 1) { $0.maximumHeldBytes = 1 << 20 }
        let attacker = HandMade(host)
        attacker.open()
        let start = attacker.seq
        for index in 0..<500 as Range<UInt32> {
            attacker.send([UInt8](repeating: 0, count: 9_000), at: start &+ 10 &+ index)
        }
        let pending = { host.engine.host.pending.proven }
        // Half of three quarters, since as much has to be left to others.
        #expect(pending().load.bytes > 300_000 && pending().load.bytes <= 3 << 17)
        #expect(try attacker.flow().receive.held.load == pending().load)
        // Another finds room.
        let other = HandMade(host, port: 8)
        other.open()
        let next = other.seq
        other.send([0], at: next &+ 5)
        #expect(try other.flow().receive.held.count == 1)
        host.advance(milliseconds: 181_000)
        #expect(pending().load == HeldLoad())
    }

    /// Before keys exist it is an eighth, for each direction.
    @Test func strangersBytesAreLimited() {
        let host = TestHost(seed: 1) { $0.maximumHeldBytes = 4 << 20 }
        for port in 1...200 as ClosedRange<UInt16> {
            let attacker = HandMade(host, port: port)
            attacker.openSilently()
            for index in 0..<8 as Range<UInt32> {
                attacker.send([UInt8](repeating: 0, count: 9_000), at: 1003 &+ index)
                host.leave(
                    attacker.there, attacker.here, 5001 + 9_000 * index, 1001, .ack, [],
                    [UInt8](repeating: 0, count: 9_000))
            }
        }
        let pending = host.engine.host.pending
        #expect(pending.unproven.load.bytes > 400_000 && pending.unproven.load.bytes <= 1 << 19)
        #expect(pending.outbound.load.bytes > 400_000 && pending.outbound.load.bytes <= 1 << 19)
    }

    /// Who guesses sequence numbers has to guess an acknowledgement too (RFC 5961 section 5.2).
    @Test func anAcknowledgementFromLongAgoIsNobodys() throws {
        let host = TestHost(seed: 1)
        let friend = HandMade(host)
        friend.open()
        let acknowledged = try UInt32(truncatingIfNeeded: friend.flow().send.acknowledgedW)
        let next = friend.seq &+ 100
        for distance: UInt32 in [70_000, 1 << 20, 1 << 30] {
            host.arrive(friend.here, friend.there, next, 5001 &+ acknowledged &- distance, .ack, [], [1, 2, 3])
        }
        #expect(host.held == 0)
        host.arrive(friend.here, friend.there, next, 5001 &+ acknowledged, .ack, [], [1, 2, 3])
        #expect(host.held == 1)
    }
}
