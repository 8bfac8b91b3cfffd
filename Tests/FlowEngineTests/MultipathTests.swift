import FlowEngine
import OpenSSLProvider
import PacketWire
import Tcpcrypt
import Testing

/// Hand-made kernels that speak MPTCP version 1 as far as an engine looks.
struct Multipath {
    let pair: Pair
    static let keyA: [UInt8] = [1, 2, 3, 4, 5, 6, 7, 8]
    static let keyB: [UInt8] = [9, 8, 7, 6, 5, 4, 3, 2]

    static func token(_ key: [UInt8]) -> [UInt8] { Array(OpenSSLProvider().sha256(key.span).prefix(4)) }

    /// As Linux lays them out: MSS, SACK permitted, timestamps, window scale, then MPTCP.
    static func synOptions(_ mptcp: [UInt8]) -> [UInt8] {
        [2, 4, 5, 180, 4, 2, 8, 10, 0, 0, 0, 1, 0, 0, 0, 0, 1, 3, 3, 7] + mptcp
    }
    static let timestamps: [UInt8] = [1, 1, 8, 10, 0, 0, 0, 2, 0, 0, 0, 1]
    static let dss: [UInt8] = [30, 8, 0x20, 1, 0, 0, 0, 1]

    init(_ pair: Pair) { self.pair = pair }

    static let thirdACK = [30, 20, 1, 1] + keyA + keyB

    /// The first subflow, up to the client's third ACK.
    func connect(isThirdACKLost: Bool = false) {
        pair.clientSends(1000, 0, .syn, Self.synOptions([30, 4, 1, 1]))
        pair.settle()
        pair.serverSends(5000, 1001, [.syn, .ack], Self.synOptions([30, 12, 1, 1] + Self.keyB))
        pair.settle()
        pair.clientSends(1001, 5001, .ack, Self.timestamps + Self.thirdACK)
        if isThirdACKLost { _ = pair.client.takeWire() }
        pair.settle()
    }

    /// A join over the connection, opened by the client from another port.
    func join(_ other: Pair, token: [UInt8] = token(keyB)) {
        other.clientSends(2000, 0, .syn, Self.synOptions(joinSYN(token)))
        other.settle()
        guard !other.server.toKernel.isEmpty else { return }
        other.serverSends(6000, 2001, [.syn, .ack], Self.joinSYNACKOptions)
        other.settle()
        other.clientSends(2001, 6001, .ack, joinACK)
        other.settle()
    }

    /// A join of which only the third ACK is missing: 2001, which acknowledges 6001.
    func halfOpenJoin() -> Pair {
        let other = Pair(port: 40_001, client: pair.client, server: pair.server)
        other.clientSends(2000, 0, .syn, Self.synOptions(joinSYN(Self.token(Self.keyB))))
        other.settle()
        other.serverSends(6000, 2001, [.syn, .ack], Self.joinSYNACKOptions)
        other.settle()
        _ = pair.server.takeKernel()
        return other
    }

    /// Without timestamps, for which a SYN-ACK with a proof has no room.
    static let joinSYNACKOptions = [2, 4, 5, 180, 4, 2, 1, 3, 3, 7] + joinSYNACK
}

@Suite struct MultipathTests {
    /// An acknowledgement without MP_CAPABLE would be the third ACK of a connection in clear to a kernel that has it half-open.
    @Test func anAbortDoesNotEstablishWhatIsHalfOpen() throws {
        let pair = Pair()
        pair.clientSends(1000, 0, .syn, Multipath.synOptions([30, 4, 1, 1]))
        pair.settle()
        pair.serverSends(5000, 1001, [.syn, .ack], Multipath.synOptions([30, 12, 1, 1] + Multipath.keyB))
        pair.settle()
        pair.clientSends(1001, 5001, .ack, Multipath.timestamps + Multipath.thirdACK)
        let first = try #require(pair.client.takeSeen().last)
        _ = pair.server.takeKernel()
        pair.server.arrive(
            pair.a, pair.b, 1001, 5001, [.ack, .psh], [69, 2] + Multipath.thirdACK,
            first.payload.prefix(4) + [0, 0, 0, 9] + first.payload.dropFirst(8))
        #expect(pair.server.actions.contains(.log(.aborted(FlowTuple(local: pair.b, remote: pair.a), .badInit))))
        let seen = pair.server.takeKernel()
        #expect(!seen.isEmpty && seen.allSatisfy { $0.packet.flags.contains(.rst) && $0.sequence == 1001 })
    }

    /// What is established need not be reset: the kernel obeys MP_FASTCLOSE on an acknowledgement.
    @Test(arguments: [true, false]) func anAbortOfWhatIsEstablishedIsAnAcknowledgement(isKernelHeard: Bool) {
        let pair = Pair()
        Multipath(pair).connect()
        if isKernelHeard {
            pair.serverSends(5001, 1001, [.ack, .psh], Multipath.timestamps + Multipath.dss, [1, 2, 3])
        } else {
            pair.clientSends(1001, 5001, [.ack, .psh], Multipath.timestamps + Multipath.dss, [1, 2, 3])
            pair.settle()
            pair.serverSends(5001, 1004, .ack, Multipath.timestamps + Multipath.dss)
        }
        pair.settle()
        _ = pair.server.takeKernel()
        pair.server.engine.shutDown(now: pair.server.now, into: &pair.server.output)
        pair.server.drain()
        let seen = pair.server.takeKernel()
        #expect(!seen.isEmpty && seen.allSatisfy { $0.packet.flags == .ack })
    }

    @Test func bothEndsKnowTheTokens() {
        let pair = Pair()
        let multipath = Multipath(pair)
        multipath.connect()
        let client = pair.client.engine.connections().first
        let server = pair.server.engine.connections().first
        #expect(client?.isMPTCP == true)
        #expect(client?.subflows.first?.state == .encrypted)
        #expect(client?.localToken == server?.remoteToken)
        #expect(client?.remoteToken == server?.localToken)
        #expect(client?.remoteToken == Multipath.token(Multipath.keyB).span.loadUInt32(at: 0))
    }

    /// The third ACK and the end of the first frame were lost: the opener's kernel, which sends one segment at a time, learns from
    /// the acknowledgement of a piece that the rest is wanted, although no kernel has answered yet.
    @Test func aPieceOfTheFirstFrameIsAcknowledgedAsMPTCP() throws {
        let first = Pair()
        Multipath(first).connect()
        let pair = Pair(port: 40_001, client: first.client, server: first.server)
        pair.clientSends(1000, 0, .syn, Multipath.synOptions([30, 4, 1, 1]))
        pair.settle()
        pair.serverSends(5000, 1001, [.syn, .ack], [2, 4, 5, 180, 4, 2, 1, 3, 3, 7, 30, 12, 1, 1] + Multipath.keyB)
        pair.settle()
        pair.clientSends(1001, 5001, .ack, Multipath.thirdACK)
        _ = pair.client.takeWire()
        let capable = [30, 22, 1, 1] + Multipath.thirdACK.dropFirst(4) + [7, 208]
        pair.clientSends(1001, 5001, [.ack, .psh], capable, [UInt8](repeating: 7, count: 2000))
        let pieces = pair.client.takeWire()
        try #require(pieces.count == 2)
        _ = pair.client.takeKernel()
        _ = pair.server.takeKernel()
        pair.server.feed(pieces[0], .inbound)
        pair.server.advance(milliseconds: 100)
        let answers = pair.server.takeWire()
        for answer in answers { pair.client.feed(answer, .inbound) }
        let seen = try #require(pair.client.takeKernel().last)
        #expect(seen.acknowledgment > 1001)
        // Data sequence numbers begin at the end of the key's SHA-256 (RFC 8684 section 3.1).
        let initial = OpenSSLProvider().sha256(Multipath.keyA.span).span.loadUInt32(at: 28)
        let expected = [30, 8, 0x20, 1] + [24, 16, 8, 0].map { UInt8(truncatingIfNeeded: (initial &+ 1) >> $0) }
        #expect(seen.options.range(of: 30).map { range in range.map { seen.options.span[$0] } } == expected)
    }

    /// A listener that lost MP_CAPABLE falls back, and says so with an acknowledgement that lacks MPTCP: the opener has to hear that, or
    /// both would wait for each other.
    @Test func aFallbackOfThePeerIsHeard() {
        let pair = Pair()
        Multipath(pair).connect()
        let capable = [30, 22, 1, 1] + Multipath.thirdACK.dropFirst(4) + [0, 3]
        pair.clientSends(1001, 5001, [.ack, .psh], Multipath.timestamps + capable, [1, 2, 3])
        pair.settle()
        _ = pair.client.takeKernel()
        pair.serverSends(5001, 1004, .ack, Multipath.timestamps)
        pair.settle()
        let seen = pair.client.takeKernel().last
        #expect(seen?.acknowledgment == 1004)
        #expect(seen?.options.contains(30) == false)
    }

    /// The engine's own acknowledgements are no fallback, although the kernel's may have been lost.
    @Test func acknowledgementsOfTheEngineAreNoFallback() {
        let pair = Pair()
        Multipath(pair).connect()
        let capable = [30, 22, 1, 1] + Multipath.thirdACK.dropFirst(4) + [0, 3]
        pair.clientSends(1001, 5001, [.ack, .psh], Multipath.timestamps + capable, [1, 2, 3])
        pair.settle()
        pair.serverSends(5001, 1004, .ack, Multipath.timestamps + Multipath.dss)
        _ = pair.server.takeWire()
        pair.clientSends(1004, 5001, [.ack, .psh], Multipath.timestamps + Multipath.dss, [4])
        _ = pair.client.takeWire()
        pair.clientSends(1005, 5001, [.ack, .psh], Multipath.timestamps + Multipath.dss, [5])
        _ = pair.client.takeKernel()
        pair.settle()
        let seen = pair.client.takeKernel()
        #expect(seen.last?.acknowledgment == 1004)
        #expect(seen.allSatisfy { $0.options.contains(30) })
    }

    /// The third ACK was lost and the kernel repeats its SYN-ACK: the peer's answer, without MP_CAPABLE, would make it fall back.
    @Test func nothingPassesBeforeMPCapableHasArrived() {
        let pair = Pair()
        let multipath = Multipath(pair)
        multipath.connect(isThirdACKLost: true)
        _ = pair.server.takeKernel()
        pair.clientSends(1001, 5001, .ack, Multipath.timestamps + Multipath.dss)
        pair.settle()
        #expect(pair.server.takeKernel().isEmpty)
        pair.clientSends(1001, 5001, .ack, Multipath.timestamps + Multipath.thirdACK)
        pair.settle()
        #expect(!pair.server.takeKernel().isEmpty)
        pair.clientSends(1001, 5001, .ack, Multipath.timestamps + Multipath.dss)
        pair.settle()
        #expect(!pair.server.takeKernel().isEmpty)
    }

    /// A peer whose kernel has fallen back sends no MPTCP option any more; its acknowledgements must get through.
    @Test func afterAFallbackOfTheKernelAcknowledgementsPass() {
        let pair = Pair()
        Multipath(pair).connect()
        _ = pair.client.takeKernel()
        pair.serverSends(5001, 1001, .ack, Multipath.timestamps)
        pair.settle()
        #expect(pair.client.takeKernel().isEmpty)
        pair.serverSends(5001, 1001, [.ack, .psh], Multipath.timestamps, [1, 2, 3])
        pair.settle()
        #expect(pair.client.takeKernel().flatMap(\.payload) == [1, 2, 3])
        pair.clientSends(1001, 5004, [.ack, .psh], Multipath.timestamps, [4])
        pair.settle()
        _ = pair.client.takeKernel()
        pair.serverSends(5004, 1002, .ack, Multipath.timestamps)
        pair.settle()
        #expect(pair.client.takeKernel().last?.acknowledgment == 1002)
    }

    /// MPTCP's receiver cannot prune, and super-packets take more memory than it reckons with: then the peer is told of five eighths of
    /// the window, but never that the right edge moved back.
    /// The share that is offered of a window, in units of 128 bytes, is in eighths.
    @Test(arguments: [(60_000, true, 5), (60_000, false, 8), (1024, false, 8), (1023, true, 4)])
    func theWindowOfMPTCPIsCut(window: Int, isGSO: Bool, share: Int) throws {
        let pair = Pair()
        Multipath(pair).connect()
        pair.clientSends(1001, 5001, [.ack, .psh], Multipath.timestamps + Multipath.thirdACK, [1])
        pair.settle()
        let size = isGSO ? 60_000 : 1000
        var edges: [Int] = []
        for turn in 0..<150 {
            let sequence = UInt32(5001 + size * turn)
            pair.serverSends(
                sequence, 1002, [.ack, .psh], Multipath.timestamps + Multipath.dss, [UInt8](repeating: 1, count: size))
            for packet in pair.server.takeWire() { pair.client.feed(packet, .inbound, isGSO: isGSO) }
            _ = pair.client.takeKernel()
            pair.client.feed(
                TestSegment(
                    source: pair.a, destination: pair.b, sequence: 1002, acknowledgment: sequence + UInt32(size),
                    flags: .ack,
                    window: UInt16(window), options: Multipath.timestamps + Multipath.dss
                ).bytes, .outbound)
            let told = try #require(pair.client.takeWire().compactMap { Seen($0) }.last)
            pair.server.feed(told.raw, .inbound)
            edges.append(Int(told.acknowledgment) + Int(told.packet.window) << 7)
            if turn == 149 { #expect(Int(told.packet.window) == window - window * (8 - share) / 8) }
        }
        #expect(edges == edges.sorted())
    }

    /// Its subflow's acknowledgements are not those that the connection's window counts from.
    @Test func theWindowOfAJoinIsCutAtOnceButForAFewSegments() throws {
        let pair = Pair()
        let multipath = Multipath(pair)
        multipath.connect()
        let other = Pair(port: 40_001, client: pair.client, server: pair.server)
        multipath.join(other)
        for (window, offered) in [(1000, 500), (0, 0), (1, 1), (128, 128), (200, 128), (60_000, 60_000)]
            as [(UInt16, UInt16)]
        {
            pair.client.feed(
                TestSegment(
                    source: other.a, destination: other.b, sequence: 2001, acknowledgment: 6001, flags: .ack,
                    window: window, options: Multipath.dss
                ).bytes, .outbound)
            #expect(try #require(pair.client.takeWire().compactMap { Seen($0) }.last).packet.window == offered)
        }
    }

    @Test func aJoinCostsNoPublicKeyOperation() {
        let pair = Pair()
        let multipath = Multipath(pair)
        multipath.connect()
        let before = pair.client.engine.counters.publicKeyOperations
        let other = Pair(port: 40_001, client: pair.client, server: pair.server)
        multipath.join(other)
        for host in [pair.client, pair.server] {
            let subflows = host.engine.connections().flatMap(\.subflows)
            #expect(subflows.map(\.origin) == [.fresh, .join])
            #expect(subflows.allSatisfy { $0.state == .encrypted })
            #expect(Set(subflows.map(\.sessionID)).count == 2)
        }
        #expect(pair.client.engine.counters.publicKeyOperations == before)
        #expect(pair.server.engine.counters.joins == 1)
        // The server's kernel got the third ACK, with its HMAC and without the probe.
        let third = pair.server.takeKernel().last
        #expect(third?.payload == [])
        #expect(third?.options.contains(TCPOptionKind.mptcp) == true)
        #expect(pair.server.held == 0)
    }

    @Test func dataFlowsOverTheJoin() {
        let pair = Pair()
        let multipath = Multipath(pair)
        multipath.connect()
        let other = Pair(port: 40_001, client: pair.client, server: pair.server)
        multipath.join(other)
        _ = pair.server.takeKernel()
        other.clientSends(2001, 6001, [.ack, .psh], Multipath.dss, [1, 2, 3])
        other.settle()
        #expect(pair.server.takeKernel().flatMap(\.payload) == [1, 2, 3])
    }

    /// Also where other joins hide it: the kernel would take the last token, and a join's shape by its length alone.
    @Test(
        arguments: [
            [], [30, 16, 0x10, 1] + [UInt8](repeating: 5, count: 12), [30, 12, 0x10, 1, 0, 0, 0, 7, 0, 0, 0, 78],
        ] as [[UInt8]])
    func aJoinWithoutProofIsRefused(disguise: [UInt8]) {
        let pair = Pair()
        // Token 7 is that of a plain connection.
        pair.server.engine.adoptPlain(tokens: [(local: 7, remote: 8)])
        let multipath = Multipath(pair)
        multipath.connect()
        _ = pair.server.takeKernel()
        // The attacker's host runs no engine.
        let syn = TestSegment(
            source: Endpoint(address: IPAddress(ipv4: 0x0a00_0009), port: 9), destination: pair.b, sequence: 1,
            flags: .syn,
            options: disguise + [30, 12, 0x10, 1] + Multipath.token(Multipath.keyB) + [0, 0, 0, 77])
        pair.server.feed(syn.bytes, .inbound)
        #expect(pair.server.takeKernel().isEmpty)
        let answer = pair.server.takeWire().compactMap { Seen($0) }.first
        #expect(answer?.packet.flags == [.rst, .ack])
        #expect(answer?.acknowledgment == 2)
        #expect(pair.server.engine.counters.joinsRefused == 1)
    }

    /// The kernel may have forgotten the first SYN (a reset, a full backlog) and take the second for it.
    @Test(
        arguments: [
            [], [69, 3, 0x23], [30, 4, 1, 1], [30, 4, 1, 1, 69, 3, 0x23], [30, 12, 0x10, 1, 0, 0, 0, 7, 0, 0, 0, 78],
        ] as [[UInt8]])
    func aJoinThatPosesAsARepetitionIsNotDelivered(first: [UInt8]) {
        let pair = Pair()
        pair.server.engine.adoptPlain(tokens: [(local: 7, remote: 8)])
        Multipath(pair).connect()
        _ = pair.server.takeKernel()
        let attacker = Endpoint(address: IPAddress(ipv4: 0x0a00_0009), port: 9)
        let join = [30, 12, 0x10, 1] + Multipath.token(Multipath.keyB) + [0, 0, 0, 77]
        for options in [first, first, join, first, join] {
            let syn = TestSegment(source: attacker, destination: pair.b, sequence: 1, flags: .syn, options: options)
            pair.server.feed(syn.bytes, .inbound)
            let delivered = pair.server.takeKernel().map { $0.options.joinToken }
            #expect(options == join ? delivered.isEmpty : delivered.allSatisfy { $0 == nil || $0 == 7 })
            pair.server.advance(milliseconds: 1000)
        }
    }

    @Test func aJoinToAnUnknownTokenIsRefusedAtBothEnds() {
        let pair = Pair()
        let multipath = Multipath(pair)
        multipath.join(pair, token: [1, 1, 1, 1])
        #expect(pair.client.engine.counters.joinsRefused == 1)
        #expect(pair.wire.isEmpty)
    }

    @Test func aPlainConnectionMayJoinInClear() {
        let plain = { (configuration: inout EngineConfiguration) in configuration.excludedPorts = [80] }
        let pair = Pair(client: TestHost(seed: 1, plain), server: TestHost(seed: 2, plain))
        let multipath = Multipath(pair)
        multipath.connect()
        #expect(pair.client.engine.connections().first?.subflows.first?.reason == .excludedPort)
        let other = Pair(port: 40_001, client: pair.client, server: pair.server)
        multipath.join(other)
        #expect(pair.client.engine.counters.joinsRefused == 0)
        #expect(pair.server.engine.connections().flatMap(\.subflows).allSatisfy { $0.state == .plain })
    }

    @Test func aPeerWithoutTheDaemonIsPlain() {
        let pair = Pair()
        let multipath = Multipath(pair)
        pair.clientSends(1000, 0, .syn, Multipath.synOptions([30, 4, 1, 1]))
        _ = pair.client.takeWire()
        let answer = TestSegment(
            source: pair.b, destination: pair.a, sequence: 5000, acknowledgment: 1001, flags: [.syn, .ack],
            options: Multipath.synOptions([30, 12, 1, 1] + Multipath.keyB))
        pair.client.feed(answer.bytes, .inbound)
        pair.clientSends(
            1001, 5001, .ack, Multipath.timestamps + [30, 20, 1, 1] + Multipath.keyA + Multipath.keyB)
        let report = pair.client.engine.connections().first
        #expect(report?.isMPTCP == true)
        #expect(report?.subflows.first?.reason == .noENO)
        _ = multipath
    }
}
