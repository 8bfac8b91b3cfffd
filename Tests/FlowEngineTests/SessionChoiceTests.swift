import FlowEngine
import PacketWire
import Tcpcrypt
import Testing

/// Which session a connection resumes, with what nonces, and how long (RFC 8548 section 3.5).
@Suite struct SessionChoiceTests {
    private func peers(_ host: TestHost) -> [[String]] {
        host.engine.sessions(now: host.now).map { $0.peers.map(\.description) }
    }

    /// Of a NAT: two servers have ports of one address.
    @Test func serversBehindOneAddress() {
        let client = TestHost(seed: 1)
        let servers = [TestHost(seed: 2), TestHost(seed: 3)]
        for round in 0..<4 {
            for (index, server) in servers.enumerated() {
                let pair = Pair(
                    port: 40_000 + UInt16(2 * round + index), service: 8001 + UInt16(index), client: client,
                    server: server)
                pair.connect()
                #expect(pair.clientReport?.origin == (round == 0 ? .fresh : .resumed))
                #expect(pair.clientReport?.sessionID == pair.serverReport?.sessionID)
            }
        }
        #expect(servers.map { $0.engine.counters.publicKeyOperations } == [2, 2])
        // What the other server declined is as good as before at another port of its own.
        let elsewhere = Pair(port: 41_000, service: 9000, client: client, server: servers[1])
        elsewhere.connect()
        #expect(elsewhere.clientReport?.origin == .resumed)
    }

    /// A policy of either end keeps connections to a port apart from all others (RFC 8548 section 3.5).
    @Test(arguments: [true, false])
    func withoutResumptionByPolicy(isOfServer: Bool) {
        var rule = PolicyRule()
        rule.ports = [25...25]
        rule.policy.resumes = false
        let client = TestHost(seed: 1) { if !isOfServer { $0.policies = [rule] } }
        let server = TestHost(seed: 2) { if isOfServer { $0.policies = [rule] } }
        let kept = isOfServer ? server : client
        Pair(port: 40_000, service: 25, client: client, server: server).connect()
        #expect(kept.engine.sessionCount == 0)
        Pair(port: 40_001, client: client, server: server).connect()
        #expect(kept.engine.sessionCount == 1)
        for (port, service, origin) in [(40_002, 25, Origin.fresh), (40_003, 80, .resumed), (40_004, 25, .fresh)] {
            let pair = Pair(port: UInt16(port), service: UInt16(service), client: client, server: server)
            pair.connect()
            let report = client.engine.connections().flatMap(\.subflows).first { $0.local == pair.a }
            #expect(report?.origin == origin && report?.state == .encrypted)
        }
        #expect(kept.engine.sessionCount == 1)
    }

    /// A server that does not encrypt, or only there, is not asked to resume again.
    @Test func declinedWithoutAnOption() throws {
        let client = TestHost(seed: 1)
        let server = TestHost(seed: 2) { $0.excludedPorts = [25] }
        Pair(port: 40_000, client: client, server: server).connect()
        var lengths: [Int] = []
        for round in 0..<4 as Range<UInt16> {
            let pair = Pair(port: 41_000 + round, service: 25, client: client, server: server)
            pair.connect()
            let syn = try #require(pair.wire.first)
            lengths.append(syn.options.range(of: TCPOptionKind.encryptionNegotiation)?.count ?? 0)
        }
        #expect(lengths == [20, 3, 3, 3])
        let pair = Pair(port: 42_000, client: client, server: server)
        pair.connect()
        #expect(pair.clientReport?.origin == .resumed && pair.clientReport?.secretIndex == 2)
    }

    /// Both hosts name the same secret at once: both exchange keys, and resume afterwards.
    @Test func crossingProposals() {
        let hosts = [TestHost(seed: 1), TestHost(seed: 2)]
        Pair(port: 40_000, client: hosts[0], server: hosts[1]).connect()
        for (round, expected) in [Origin.fresh, .resumed, .resumed].enumerated() {
            let port = 41_000 + UInt16(round)
            let pairs = [
                Pair(port: port, client: hosts[0], server: hosts[1]),
                Pair(port: port, address: 2, remote: 1, client: hosts[1], server: hosts[0]),
            ]
            for pair in pairs { pair.clientSends(1000, 0, .syn, [2, 4, 5, 180, 4, 2]) }
            for pair in pairs { pair.settle() }
            for pair in pairs { pair.serverSends(5000, 1001, [.syn, .ack], [2, 4, 5, 180, 4, 2]) }
            for pair in pairs { pair.settle() }
            for pair in pairs { pair.clientSends(1001, 5001, .ack) }
            for pair in pairs { pair.settle() }
            for pair in pairs {
                #expect(pair.clientReport?.origin == expected && pair.serverReport?.origin == expected)
                #expect(pair.clientReport?.sessionID == pair.serverReport?.sessionID)
            }
        }
    }

    /// Kind, length, TEP and nine bytes of name are 12 bytes; the acceptor's role is one more.
    @Test(arguments: [(0, 4, 4), (3, 4, 4), (5, 5, 5), (7, 7, 6), (8, 8, 6)])
    func nonces(_ wanted: Int, _ accepted: Int, _ acceptedMultipath: Int) throws {
        let hosts = (1...2).map { seed in TestHost(seed: UInt64(seed)) { $0.resumptionNonce = wanted } }
        let enos = { (pair: Pair) in
            pair.wire.filter { $0.packet.flags.contains(.syn) }
                .map { $0.options.range(of: TCPOptionKind.encryptionNegotiation)?.count ?? 0 }
        }
        Pair(port: 40_000, client: hosts[0], server: hosts[1]).connect()
        let resumed = Pair(port: 40_001, client: hosts[0], server: hosts[1])
        resumed.connect()
        #expect(enos(resumed) == [12 + wanted, 13 + accepted])
        let first = Pair(port: 40_002, client: hosts[0], server: hosts[1])
        let multipath = Multipath(first)
        multipath.connect()
        #expect(enos(first) == [12 + min(wanted, 5), 13 + acceptedMultipath])
        let joined = Pair(port: 40_003, client: hosts[0], server: hosts[1])
        multipath.join(joined)
        #expect(enos(joined) == [12 + min(wanted, 7), 15])
        for pair in [resumed, first, joined] {
            #expect(pair.clientReport?.state == .encrypted && pair.clientReport?.origin != .fresh)
            #expect(pair.clientReport?.sessionID == pair.serverReport?.sessionID)
        }
        #expect(hosts[1].engine.counters.joins == 1)
    }

    /// Only a frame proves that a joiner is the peer, and so that its address is the peer's.
    @Test func addressesOfUnprovenJoinsAreNotLearnt() throws {
        let pair = Pair()
        let multipath = Multipath(pair)
        multipath.connect()
        let other = Pair(port: 40_001, address: 9, client: pair.client, server: pair.server)
        other.clientSends(2000, 0, .syn, Multipath.synOptions(joinSYN(Multipath.token(Multipath.keyB))))
        other.settle()
        other.serverSends(6000, 2001, [.syn, .ack], Multipath.joinSYNACKOptions)
        other.settle()
        #expect(peers(pair.server) == [["10.0.0.1"]])
        other.clientSends(2001, 6001, .ack, joinACK)
        // The third ACK has a frame, which somebody else can only guess.
        let last = pair.client.takeWire()
        let third = try #require(last.first.flatMap { Seen($0) })
        for forged in [third.payload.dropLast() + [third.payload.last.map { $0 ^ 1 } ?? 0], []] {
            let segment = TestSegment(
                source: other.a, destination: other.b, sequence: third.sequence, acknowledgment: third.acknowledgment,
                flags: third.packet.flags, options: third.options.span.indices.map { third.options.span[$0] },
                payload: Array(forged))
            pair.server.feed(segment.bytes, .inbound)
            #expect(peers(pair.server) == [["10.0.0.1"]])
        }
        for bytes in last { pair.server.feed(bytes, .inbound) }
        #expect(peers(pair.server) == [["10.0.0.1", "10.0.0.9"]])
        #expect(pair.server.engine.counters.joins == 1)
    }

    @Test func sessionsEnd() {
        let hosts = (1...2).map { seed in
            TestHost(seed: UInt64(seed)) {
                $0.sessionLifetime = 15
                $0.maximumSessions = 3
            }
        }
        Pair(port: 40_000, client: hosts[0], server: hosts[1]).connect()
        for host in hosts { host.advance(milliseconds: 14_900) }
        let inTime = Pair(port: 40_001, client: hosts[0], server: hosts[1])
        inTime.connect()
        #expect(inTime.clientReport?.origin == .resumed)
        for host in hosts { host.advance(milliseconds: 200) }
        #expect(hosts[0].engine.sessions(now: hosts[0].now).isEmpty)
        let late = Pair(port: 40_002, client: hosts[0], server: hosts[1])
        late.connect()
        #expect(late.clientReport?.origin == .fresh)
        // Nobody asks for these again.
        for host in hosts { for _ in 0..<4 { host.advance(milliseconds: 10_000) } }
        #expect(hosts.map { $0.engine.sessionCount } == [0, 0])
        for index in 0..<5 {
            Pair(port: 40_010 + UInt16(index), client: TestHost(seed: UInt64(index) + 10), server: hosts[1]).connect()
            hosts[1].advance(milliseconds: 1)
        }
        #expect(hosts[1].engine.sessionCount == 3)
    }

    @Test func flushByPeer() throws {
        let server = TestHost(seed: 1)
        for index in 0..<3 as Range<UInt8> {
            let client = TestHost(seed: UInt64(index) + 2)
            let pair = Pair(port: 40_000, address: 1 + index * 16, client: client, server: server)
            pair.connect()
        }
        let flush = { (text: String) throws in
            let prefix = try #require(IPPrefix(text))
            var place = ReportPlace()
            var count = 0
            while !place.isEnd { count += server.engine.flushSessions(peersIn: prefix, from: &place) }
            return count
        }
        #expect(try flush("10.0.0.16/28") == 1)
        #expect(peers(server) == [["10.0.0.33"], ["10.0.0.1"]])
        #expect(try flush("::/0") == 0)
        #expect(try flush("0.0.0.0/0") == 2 && server.engine.sessionCount == 0)
    }
}
