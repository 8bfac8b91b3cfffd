import FlowEngine
import PacketWire
import Tcpcrypt
import Testing

/// Two engines back to back: client (the opener) and server, with hand-made kernels.
final class Pair {
    let client: TestHost
    let server: TestHost
    let a: Endpoint
    let b: Endpoint
    var wire: [Seen] = []

    /// - Parameters:
    ///   - port: the client's.
    ///   - address: the last byte of the client's.
    ///   - remote: the last byte of the server's.
    ///   - service: the server's port.
    init(
        port: UInt16 = 40_000, address: UInt8 = 1, remote: UInt8 = 2, service: UInt16 = 80, client: TestHost? = nil,
        server: TestHost? = nil
    ) {
        a = Endpoint(address: IPAddress(ipv4: 0x0a00_0000 | UInt32(address)), port: port)
        b = Endpoint(address: IPAddress(ipv4: 0x0a00_0000 | UInt32(remote)), port: service)
        self.client = client ?? TestHost(seed: 1)
        self.server = server ?? TestHost(seed: 2)
    }

    /// Moves what is under way until nothing is.
    func settle() {
        while !client.toWire.isEmpty || !server.toWire.isEmpty {
            for bytes in client.takeWire() {
                if let seen = Seen(bytes) { wire.append(seen) }
                server.feed(bytes, .inbound)
            }
            for bytes in server.takeWire() {
                if let seen = Seen(bytes) { wire.append(seen) }
                client.feed(bytes, .inbound)
            }
        }
    }

    func clientSends(_ seq: UInt32, _ ack: UInt32, _ flags: TCPFlags, _ options: [UInt8] = [], _ data: [UInt8] = []) {
        client.leave(a, b, seq, ack, flags, options, data)
    }

    func serverSends(_ seq: UInt32, _ ack: UInt32, _ flags: TCPFlags, _ options: [UInt8] = [], _ data: [UInt8] = []) {
        server.leave(b, a, seq, ack, flags, options, data)
    }

    /// Three-way handshake with ISNs 1000 (client) and 5000 (server).
    func connect() {
        clientSends(1000, 0, .syn, [2, 4, 5, 180, 4, 2])
        settle()
        serverSends(5000, 1001, [.syn, .ack], [2, 4, 5, 180, 4, 2])
        settle()
        clientSends(1001, 5001, .ack)
        settle()
    }

    var clientReport: SubflowReport? { report(client, local: a, remote: b) }
    var serverReport: SubflowReport? { report(server, local: b, remote: a) }

    private func report(_ host: TestHost, local: Endpoint, remote: Endpoint) -> SubflowReport? {
        host.engine.connections().flatMap(\.subflows).first { $0.local == local && $0.remote == remote }
    }
}

@Suite struct PairTests {
    @Test func freshHandshakeEncryptsBothEnds() {
        let pair = Pair()
        pair.connect()
        #expect(pair.clientReport?.state == .encrypted)
        #expect(pair.serverReport?.state == .encrypted)
        #expect(pair.clientReport?.sessionID == pair.serverReport?.sessionID)
        #expect(pair.clientReport?.sessionID.isEmpty == false)
        #expect(pair.client.held == 0 && pair.server.held == 0)
        // The kernels saw an ordinary handshake.
        let toServer = pair.server.takeKernel()
        #expect(toServer.allSatisfy { !$0.hasENO && $0.payload.isEmpty })
        #expect(pair.client.takeKernel().allSatisfy { !$0.hasENO && $0.payload.isEmpty })
    }

    @Test func dataTravelsBothWays() {
        let pair = Pair()
        pair.connect()
        _ = pair.server.takeKernel()
        _ = pair.client.takeKernel()
        let data = (0..<5000).map { UInt8(truncatingIfNeeded: $0) }
        pair.clientSends(1001, 5001, [.ack, .psh], [], Array(data[0..<1440]))
        pair.clientSends(2441, 5001, [.ack, .psh], [], Array(data[1440..<2880]))
        pair.settle()
        let arrived = pair.server.takeKernel()
        #expect(arrived.flatMap(\.payload) == Array(data[0..<2880]))
        #expect(arrived.first?.sequence == 1001)
        pair.serverSends(5001, 3881, .ack)
        pair.settle()
        #expect(pair.client.takeKernel().last?.acknowledgment == 3881)
        pair.serverSends(5001, 3881, [.ack, .psh], [], Array(data[0..<700]))
        pair.settle()
        #expect(pair.client.takeKernel().flatMap(\.payload) == Array(data[0..<700]))
        #expect(!pair.wire.contains { $0.payload.count > 100 && Array($0.payload.prefix(50)) == Array(data[0..<50]) })
    }

    @Test func dataBeforeKeysIsHeldAndNotLost() {
        let pair = Pair()
        pair.clientSends(1000, 0, .syn, [2, 4, 5, 180])
        pair.settle()
        pair.serverSends(5000, 1001, [.syn, .ack], [2, 4, 5, 180])
        pair.settle()
        pair.clientSends(1001, 5001, .ack)
        pair.clientSends(1001, 5001, [.ack, .psh], [], [1, 2, 3])
        #expect(pair.client.held == 1)
        pair.settle()
        #expect(pair.client.held == 0)
        #expect(pair.server.takeKernel().flatMap(\.payload) == [1, 2, 3])
    }

    @Test func finIsSignedAndHalfCloseWorks() {
        let pair = Pair()
        pair.connect()
        pair.clientSends(1001, 5001, [.ack, .fin], [], [9])
        pair.settle()
        let arrived = pair.server.takeKernel()
        #expect(arrived.last?.packet.flags.contains(.fin) == true)
        #expect(arrived.last?.payload == [9])
        pair.serverSends(5001, 1003, .ack)
        pair.settle()
        #expect(pair.client.takeKernel().last?.acknowledgment == 1003)
        pair.serverSends(5001, 1003, [.ack, .psh], [], [7, 7])
        pair.serverSends(5003, 1003, [.ack, .fin])
        pair.settle()
        let late = pair.client.takeKernel()
        #expect(late.flatMap(\.payload) == [7, 7])
        #expect(late.last?.packet.flags.contains(.fin) == true)
        #expect(late.last?.sequence == 5003)
        pair.clientSends(1003, 5004, .ack)
        pair.settle()
        #expect(pair.server.takeKernel().last?.acknowledgment == 5004)
    }

    @Test func unsignedFINIsNotAnEndOfFile() {
        let pair = Pair()
        pair.connect()
        _ = pair.server.takeKernel()
        let last = pair.wire.last { $0.packet.source == pair.a }
        guard let last else { return #expect(Bool(false)) }
        let forged = TestSegment(
            source: pair.a, destination: pair.b, sequence: last.sequence &+ UInt32(last.payload.count),
            acknowledgment: last.acknowledgment, flags: [.fin, .ack])
        pair.server.feed(forged.bytes, .inbound)
        #expect(!pair.server.takeKernel().contains { $0.packet.flags.contains(.fin) })
    }

    @Test func secondConnectionResumes() {
        let first = Pair()
        first.connect()
        let second = Pair(port: 40_001, client: first.client, server: first.server)
        let operations = first.client.engine.counters.publicKeyOperations
        second.connect()
        let reports = first.client.engine.connections().flatMap(\.subflows)
        #expect(reports.contains { $0.origin == .resumed && $0.state == .encrypted })
        #expect(first.client.engine.counters.publicKeyOperations == operations)
        second.clientSends(1001, 5001, [.ack, .psh], [], [4, 5, 6])
        _ = first.server.takeKernel()
        second.settle()
        #expect(first.server.takeKernel().flatMap(\.payload) == [4, 5, 6])
        second.serverSends(5001, 1004, [.ack, .psh], [], [8])
        _ = first.client.takeKernel()
        second.settle()
        #expect(first.client.takeKernel().flatMap(\.payload) == [8])
    }

    /// A kernel whose data lies beyond a window that shrank acknowledges from the edge of that window; a kernel that has taken the
    /// data ignores what comes from there.
    @Test func acknowledgementsBehindAShrunkWindowCount() throws {
        let pair = Pair()
        pair.connect()
        pair.clientSends(1001, 5001, [.ack, .psh], [], [UInt8](repeating: 1, count: 1000))
        pair.serverSends(5001, 1001, [.ack, .psh], [], [UInt8](repeating: 2, count: 100))
        pair.settle()
        pair.serverSends(5101, 2001, .ack)
        pair.settle()
        pair.clientSends(2001, 5001, [.ack, .psh], [], [UInt8](repeating: 1, count: 1000))
        pair.settle()
        pair.serverSends(5101, 3001, .ack)
        _ = pair.server.takeWire()
        _ = pair.server.takeKernel()
        pair.clientSends(2501, 5101, .ack)
        pair.settle()
        let seen = try #require(pair.server.takeKernel().last)
        #expect(seen.sequence == 3001)
        #expect(seen.acknowledgment == 5101)
    }

    /// A kernel sends when the window is open by half: of a very small one frames may not be subtracted, or it would wait each time.
    @Test func halfOfASmallWindowIsHalf() throws {
        let pair = Pair()
        let small = {
            (host: TestHost, from: Endpoint, to: Endpoint, seq: UInt32, ack: UInt32, flags: TCPFlags, window: UInt16) in
            let options: [UInt8] = flags.contains(.syn) ? mss : []
            let segment = TestSegment(
                source: from, destination: to, sequence: seq, acknowledgment: ack, flags: flags, window: window,
                options: options)
            host.feed(segment.bytes, .outbound)
            pair.settle()
        }
        small(pair.client, pair.a, pair.b, 1000, 0, .syn, 1152)
        small(pair.server, pair.b, pair.a, 5000, 1001, [.syn, .ack], 1152)
        small(pair.client, pair.a, pair.b, 1001, 5001, .ack, 1152)
        for round in 0..<4 as Range<UInt32> {
            pair.clientSends(1001 + round * 500, 5001, [.ack, .psh], [], [UInt8](repeating: 1, count: 500))
            pair.settle()
            _ = pair.client.takeKernel()
            small(pair.server, pair.b, pair.a, 5001, 1501 + round * 500, .ack, 576)
        }
        #expect(try #require(pair.client.takeKernel().last).packet.window == 576)
    }

    @Test func resetReachesTheOtherKernelExactly() {
        let pair = Pair()
        pair.connect()
        pair.clientSends(1001, 5001, [.ack, .psh], [], [1, 2, 3, 4])
        pair.settle()
        _ = pair.server.takeKernel()
        pair.clientSends(1005, 5001, [.rst, .ack])
        pair.settle()
        let reset = pair.server.takeKernel().last
        #expect(reset?.packet.flags.contains(.rst) == true)
        #expect(reset?.sequence == 1005)
    }

    /// A client that gives up between SYN-ACK and third ACK: the listener's kernel forgets, and so does the engine.
    @Test func resetOfAHalfOpenConnectionEndsIt() {
        for (sequence, remains) in [(UInt32(1001), false), (1002, true)] {
            let pair = Pair()
            pair.clientSends(1000, 0, .syn, [2, 4, 5, 180, 4, 2])
            pair.settle()
            pair.serverSends(5000, 1001, [.syn, .ack], [2, 4, 5, 180, 4, 2])
            let reset = TestSegment(
                source: pair.a, destination: pair.b, sequence: sequence, acknowledgment: 5001, flags: [.rst, .ack])
            pair.server.feed(reset.bytes, .inbound)
            #expect(pair.server.takeKernel().last?.packet.flags.contains(.rst) == true)
            pair.server.advance(milliseconds: 6000)
            #expect((pair.serverReport != nil) == remains)
        }
    }

    /// What was held behind a lost segment is released with timestamps no older than that segment's, or the kernel would
    /// refuse it (RFC 7323 section 5).
    @Test func heldPacketsAreReleasedWithTheLatestTimestamp() {
        let pair = Pair()
        let clock = { (value: UInt32) -> [UInt8] in [1, 1, 8, 10] + value.bytes + [0, 0, 0, 9] }
        pair.clientSends(1000, 0, .syn, [2, 4, 5, 180, 4, 2, 8, 10, 0, 0, 0, 9, 0, 0, 0, 0])
        pair.settle()
        pair.serverSends(
            5000, 1001, [.syn, .ack], [2, 4, 5, 180, 4, 2, 8, 10] + (0xf000_0000 as UInt32).bytes + [0, 0, 0, 9])
        pair.settle()
        pair.clientSends(1001, 5001, .ack, clock(10))
        pair.settle()
        pair.serverSends(5001, 1001, [.ack, .psh], clock(0xf000_0001), [1, 2, 3])
        _ = pair.server.takeWire()
        _ = pair.client.takeKernel()
        pair.serverSends(5004, 1001, [.ack, .psh], clock(0xf000_0002), [4, 5, 6])
        pair.settle()
        pair.serverSends(5001, 1001, [.ack, .psh], clock(0xf000_0900), [1, 2, 3])
        pair.settle()
        let delivered = pair.client.takeKernel().filter { !$0.payload.isEmpty }
        #expect(delivered.flatMap(\.payload) == [1, 2, 3, 4, 5, 6])
        #expect(delivered.map { $0.options.timestamps?.value } == [0xf000_0900, 0xf000_0900])
    }
}

extension UInt32 {
    fileprivate var bytes: [UInt8] { [24, 16, 8, 0].map { UInt8(truncatingIfNeeded: self >> $0) } }
}
