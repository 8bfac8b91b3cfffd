import OpenSSLProvider
import PacketWire
import Tables
import Tcpcrypt
import Testing

@testable import FlowEngine

/// Hosts that put MPTCP's signalling into frames (the article ProtectedSignalling).
@Suite struct SignallingTests {
    let pair = Pair(client: Self.host(1), server: Self.host(2))

    static func host(_ seed: UInt64, _ teps: [TEP] = [.curve25519MPTCP, .curve25519]) -> TestHost {
        TestHost(seed: seed) { $0.teps = teps }
    }

    /// DSS: an acknowledgement of 8 bytes, and a mapping with the checksum 0xabcd.
    static func dss(ack: UInt8, sequence: UInt8, subflow: UInt8, length: UInt8, fin: Bool = false) -> [UInt8] {
        [30, 28, 0x20, fin ? 0x1f : 0x0f] + [0, 0, 0, 0, 0, 0, 0, ack] + [0, 0, 0, 0, 0, 0, 0, sequence]
            + [0, 0, 0, subflow, 0, length, 0xab, 0xcd]
    }

    static func dataAck(_ ack: UInt8) -> [UInt8] { [30, 12, 0x20, 3, 0, 0, 0, 0, 0, 0, 0, ack] }
    static let addAddress: [UInt8] = [30, 16, 0x30, 5, 10, 9, 9, 9] + [UInt8](repeating: 7, count: 8)
    static let removeAddress: [UInt8] = [30, 4, 0x40, 5]
    static let priority: [UInt8] = [30, 3, 0x51]
    static let dataFIN: [UInt8] = [30, 18, 0x20, 0x1c] + endAt7
    static let endAt7: [UInt8] = [0, 0, 0, 0, 0, 0, 0, 7, 0, 0, 0, 0, 0, 1]

    /// A connection on which both kernels have been heard.
    func connect() {
        Multipath(pair).connect()
        pair.serverSends(5001, 1001, .ack, Multipath.timestamps + Self.dataAck(1))
        pair.settle()
        pair.clientSends(1001, 5001, .ack, Multipath.timestamps + Self.dataAck(1))
        pair.settle()
        forgetWire()
    }

    func forgetWire() {
        pair.wire = []
        _ = pair.client.takeKernel()
        _ = pair.server.takeKernel()
    }

    /// MPTCP options of a packet.
    func options(_ seen: Seen) -> [[UInt8]] {
        seen.options.ranges(of: 30).map { range in range.map { seen.options.span[$0] } }
    }

    func clientWrites(_ data: [UInt8], at sequence: UInt32 = 1001, _ mptcp: [UInt8]) {
        pair.clientSends(sequence, 5001, [.ack, .psh], Multipath.timestamps + mptcp, data)
    }

    @Test func bothEndsChooseIt() {
        connect()
        #expect(pair.clientReport?.tep == .curve25519MPTCP && pair.serverReport?.tep == .curve25519MPTCP)
    }

    /// The kernel gets it back as it was, checksum included, and nobody else sees any of it.
    @Test func aMappingTravelsInTheFrame() throws {
        connect()
        clientWrites([1, 2, 3], Self.dss(ack: 1, sequence: 9, subflow: 1, length: 3))
        pair.settle()
        let wire = try #require(pair.wire.first { !$0.payload.isEmpty })
        #expect(options(wire).isEmpty)
        #expect(!wire.raw.contains([0xab, 0xcd]))
        let seen = try #require(pair.server.takeKernel().first { !$0.payload.isEmpty })
        #expect(seen.payload == [1, 2, 3])
        #expect(options(seen) == [Self.dss(ack: 1, sequence: 9, subflow: 1, length: 3)])
    }

    @Test(arguments: [
        dss(ack: 1, sequence: 200, subflow: 1, length: 3), dss(ack: 99, sequence: 9, subflow: 1, length: 3, fin: true),
        addAddress, removeAddress, priority, dataFIN,
    ])
    func whatSomebodyPutsIntoAHeaderCountsForNothing(_ forged: [UInt8]) throws {
        connect()
        clientWrites([1, 2, 3], Self.dss(ack: 1, sequence: 9, subflow: 1, length: 3))
        let genuine = try #require(pair.client.takeSeen().first { !$0.payload.isEmpty })
        let arrive = { (payload: [UInt8]) in
            self.pair.server.arrive(
                self.pair.a, self.pair.b, genuine.sequence, genuine.acknowledgment, .ack, Multipath.timestamps + forged,
                payload)
        }
        arrive([])
        arrive(genuine.payload)
        let seen = pair.server.takeKernel()
        #expect(seen.contains { $0.payload == [1, 2, 3] })
        for packet in seen {
            let expected =
                packet.payload.isEmpty ? [Self.dataAck(1)] : [Self.dss(ack: 1, sequence: 9, subflow: 1, length: 3)]
            #expect(options(packet).allSatisfy(expected.contains))
        }
    }

    @Test(arguments: [addAddress, removeAddress, priority, dataFIN])
    func whatTheKernelSaysArrives(_ signal: [UInt8]) {
        connect()
        pair.serverSends(5001, 1001, .ack, Multipath.timestamps + signal)
        pair.settle()
        #expect(pair.wire.allSatisfy { !options($0).contains(signal) })
        // A DATA_FIN with an acknowledgement of data, or it would not be heard as the first packet.
        let heard = signal == Self.dataFIN ? [30, 26, 0x20, 0x1f, 0, 0, 0, 0, 0, 0, 0, 1] + Self.endAt7 : signal
        #expect(pair.client.takeKernel().filter { options($0) == [heard] && $0.options.timestamps != nil }.count == 1)
    }

    /// Nor before there are keys.
    @Test(arguments: [addAddress, removeAddress, priority, dataFIN])
    func norBeforeThereAreKeys(_ forged: [UInt8]) {
        pair.clientSends(1000, 0, .syn, Multipath.synOptions([30, 4, 1, 1]))
        pair.settle()
        pair.serverSends(5000, 1001, [.syn, .ack], Multipath.synOptions([30, 12, 1, 1] + Multipath.keyB))
        pair.settle()
        _ = pair.client.takeKernel()
        pair.client.arrive(pair.b, pair.a, 5001, 1001, .ack, Multipath.timestamps + forged)
        #expect(pair.client.takeKernel().flatMap(options).allSatisfy { $0 != forged })
    }

    /// A kernel that has just accepted announces its addresses before there are keys.
    @Test func whatItSaysBeforeThereAreKeysWaits() {
        Multipath(pair).connect(isThirdACKLost: true)
        pair.clientSends(1001, 5001, .ack, Multipath.timestamps + Self.addAddress)
        #expect(pair.client.takeSeen().allSatisfy { !options($0).contains(Self.addAddress) })
        pair.client.advance(milliseconds: 300)
        pair.settle()
        #expect(pair.clientReport?.state == .encrypted)
        #expect(pair.wire.allSatisfy { !options($0).contains(Self.addAddress) })
        #expect(pair.server.takeKernel().contains { options($0) == [Self.addAddress] })
    }

    /// One that was sent already gets its DATA_FIN with a repetition.
    @Test func aDATAFINComesWithARepetition() {
        connect()
        clientWrites([1, 2, 3], Self.dss(ack: 1, sequence: 9, subflow: 1, length: 3))
        pair.settle()
        forgetWire()
        for _ in 0..<2 { clientWrites([1, 2, 3], Self.dss(ack: 1, sequence: 9, subflow: 1, length: 4, fin: true)) }
        pair.settle()
        let fin: [UInt8] = [0, 0, 0, 0, 0, 0, 0, 12, 0, 0, 0, 0, 0, 1]
        let ends = pair.server.takeKernel().flatMap(options).filter { Array($0.suffix(14)) == fin }
        #expect(ends.count == 1 && ends.first?[3] == 0x1f)
    }

    // MARK: Acknowledgements

    @Test func theKernelIsToldWhatFramesAcknowledge() throws {
        connect()
        clientWrites([1, 2, 3], Self.dss(ack: 1, sequence: 9, subflow: 1, length: 3))
        pair.settle()
        forgetWire()
        // Forged, for data that has not arrived.
        let last = try #require(pair.server.engine.flows[FlowTuple(local: pair.b, remote: pair.a)])
        pair.client.arrive(
            pair.b, pair.a, 5001 &+ UInt32(last.send.sentW), 1001, .ack, Multipath.timestamps + Self.dataAck(77))
        #expect(pair.client.takeKernel().flatMap(options).allSatisfy { $0 == Self.dataAck(1) })
        pair.serverSends(5001, 1004, .ack, Multipath.timestamps + Self.dataAck(12))
        pair.settle()
        #expect(pair.client.takeKernel().flatMap(options).contains(Self.dataAck(12)))
    }

    /// One frame at a time; what has come meanwhile is told when that one is acknowledged.
    @Test func acknowledgementsWaitForOneAnother() {
        connect()
        for ack: UInt8 in 2...9 { pair.serverSends(5001, 1001, .ack, Multipath.timestamps + Self.dataAck(ack)) }
        #expect(pair.server.toWire.compactMap { Seen($0) }.count { !$0.payload.isEmpty } == 1)
        pair.settle()
        pair.client.advance(milliseconds: 10)
        pair.settle()
        #expect(pair.wire.count { $0.packet.source == pair.b && !$0.payload.isEmpty } == 2)
        pair.serverSends(5001, 1001, .ack, Multipath.timestamps + Self.dataAck(9))
        pair.settle()
        #expect(pair.client.takeKernel().last.map(options) == [Self.dataAck(9)])
    }

    // MARK: Pieces

    /// Receive offload merges segments that look alike; each mapping reaches the kernel with its own bytes.
    @Test func aPacketOfTwoMappingsBecomesTwo() throws {
        connect()
        clientWrites([1, 2, 3], Self.dss(ack: 1, sequence: 9, subflow: 1, length: 3))
        clientWrites([4, 5], at: 1004, Self.dss(ack: 1, sequence: 50, subflow: 4, length: 2))
        let wire = pair.client.takeSeen().filter { !$0.payload.isEmpty }
        #expect(wire.count == 2 && wire.allSatisfy { $0.packet.flags.contains(.psh) })
        let first = try #require(wire.first)
        pair.server.arrive(
            pair.a, pair.b, first.sequence, first.acknowledgment, .ack, Multipath.timestamps, wire.flatMap(\.payload))
        let seen = pair.server.takeKernel().filter { !$0.payload.isEmpty }.sorted { $0.sequence < $1.sequence }
        #expect(seen.map(\.payload) == [[1, 2, 3], [4, 5]])
        #expect(
            seen.flatMap(options) == [
                Self.dss(ack: 1, sequence: 9, subflow: 1, length: 3),
                Self.dss(ack: 1, sequence: 50, subflow: 4, length: 2),
            ])
    }

    /// No verdict lengthens a packet, which ``TestHost`` watches; the mapping is there with the first byte it maps.
    @Test(arguments: [1, 5, 22, 23, 24, 30, 51, 60])
    func piecesKeepTheirMapping(_ cut: Int) throws {
        connect()
        let data = [UInt8](1...100)
        clientWrites(data, Self.dss(ack: 1, sequence: 9, subflow: 1, length: 100))
        let whole = try #require(pair.client.takeSeen().first { !$0.payload.isEmpty })
        for (start, end) in [(0, cut), (cut, whole.payload.count)] {
            pair.server.arrive(
                pair.a, pair.b, whole.sequence &+ UInt32(start), whole.acknowledgment, .ack, Multipath.timestamps,
                Array(whole.payload[start..<end]))
        }
        let seen = pair.server.takeKernel().filter { !$0.payload.isEmpty }.sorted { $0.sequence < $1.sequence }
        #expect(seen.flatMap(\.payload) == data)
        let mapping = try #require(seen.first.map(options)?.first)
        #expect(mapping.count == 20 || mapping.count == 28)
        #expect(Array(mapping.suffix(16)) == Array(Self.dss(ack: 1, sequence: 9, subflow: 1, length: 100).suffix(16)))
    }

    @Test func dataWithoutAMappingStaysWithout() {
        connect()
        clientWrites([1, 2, 3], [])
        for seen in pair.client.takeSeen() where !seen.payload.isEmpty {
            pair.server.arrive(
                pair.a, pair.b, seen.sequence, seen.acknowledgment, .ack,
                Multipath.timestamps + Self.dss(ack: 1, sequence: 9, subflow: 1, length: 3), seen.payload)
        }
        let seen = pair.server.takeKernel().filter { !$0.payload.isEmpty }
        #expect(seen.map(\.payload) == [[1, 2, 3]] && seen.flatMap(options).isEmpty)
    }

    // MARK: Joins and others

    @Test func joinsAreProtectedToo() throws {
        connect()
        let other = Pair(port: 40_001, client: pair.client, server: pair.server)
        Multipath(pair).join(other)
        #expect(pair.server.engine.counters.joins == 1)
        other.serverSends(6001, 2001, .ack, Self.dataAck(1))
        other.settle()
        other.wire = []
        other.clientSends(2001, 6001, [.ack, .psh], Self.dss(ack: 1, sequence: 3, subflow: 1, length: 2), [1, 2])
        other.settle()
        #expect(try options(#require(other.wire.first { !$0.payload.isEmpty })).isEmpty)
        let seen = try #require(pair.server.takeKernel().last { $0.payload == [1, 2] })
        #expect(options(seen) == [Self.dss(ack: 1, sequence: 3, subflow: 1, length: 2)])
    }

    /// RFC 8548 alone: options ride in headers, and reserved bits are zero.
    @Test func aPeerWithoutItGetsRFC8548() throws {
        let pair = Pair(client: Self.host(1), server: Self.host(2, [.curve25519]))
        Multipath(pair).connect()
        #expect(pair.clientReport?.tep == .curve25519)
        pair.wire = []
        let dss = Self.dss(ack: 1, sequence: 9, subflow: 1, length: 3)
        pair.clientSends(1001, 5001, [.ack, .psh], Multipath.timestamps + dss, [1, 2, 3])
        pair.settle()
        let wire = try #require(pair.wire.first { !$0.payload.isEmpty })
        #expect(options(wire) == [dss] && wire.payload.first == 0 && wire.payload.count == 3 + Frame.overhead)
    }

    // MARK: Resets

    @Test(arguments: [true, false])
    func aResetIsAnnounced(isMPTCP: Bool) {
        if isMPTCP { connect() } else { pair.connect() }
        forgetWire()
        let fastClose: [UInt8] = [30, 12, 0x70, 0] + Multipath.keyB
        pair.clientSends(1001, 5001, [.rst, .ack], isMPTCP ? fastClose : [])
        let wire = pair.client.takeSeen()
        #expect(wire.count == 2 && wire.last?.packet.flags.contains(.rst) == true)
        // The frame is enough.
        if let frame = wire.first { pair.server.feed(frame.raw, .inbound) }
        let seen = pair.server.takeKernel().filter { $0.packet.flags.contains(.rst) }
        #expect(seen.contains { $0.sequence == 1001 && options($0) == (isMPTCP ? [fastClose] : []) })
    }

    /// A forged reset makes this host ask; the peer answers, and nothing has happened.
    @Test(arguments: [true, false])
    func aForgedResetDoesNothing(isMPTCP: Bool) throws {
        if isMPTCP { connect() } else { pair.connect() }
        forgetWire()
        let flow = try #require(pair.server.engine.flows[FlowTuple(local: pair.b, remote: pair.a)])
        for _ in 0..<10 {
            pair.server.arrive(
                pair.a, pair.b, 1001 &+ UInt32(flow.receive.nextW), 5001 &+ UInt32(flow.send.sentW), [.rst, .ack])
        }
        pair.settle()
        pair.server.advance(milliseconds: 10_000)
        pair.settle()
        #expect(pair.server.takeKernel().allSatisfy { !$0.packet.flags.contains(.rst) })
        #expect(pair.serverReport?.state == .encrypted && pair.server.engine.counters.resetsDoubted == 1)
    }

    @Test(arguments: [true, false])
    func theResetOfAPeerThatHasGoneCountsLater(isMPTCP: Bool) throws {
        if isMPTCP { connect() } else { pair.connect() }
        forgetWire()
        let flow = try #require(pair.server.engine.flows[FlowTuple(local: pair.b, remote: pair.a)])
        // What ends the whole connection may come second.
        let fastClose: [UInt8] = [30, 12, 0x70, 0] + Multipath.keyB
        for options in isMPTCP ? [[], fastClose] : [[]] {
            pair.server.arrive(
                pair.a, pair.b, 1001 &+ UInt32(flow.receive.nextW), 5001 &+ UInt32(flow.send.sentW), [.rst, .ack],
                options)
        }
        pair.server.advance(milliseconds: 2_900)
        #expect(pair.server.takeKernel().isEmpty)
        pair.server.advance(milliseconds: 200)
        let reset = pair.server.takeKernel().first { $0.packet.flags.contains(.rst) && $0.sequence == 1001 }
        #expect(reset.map(options) == (isMPTCP ? [fastClose] : []))
    }

    /// What ended meanwhile is not asked about for ever.
    @Test func aDoubtEndsWithTheConnection() throws {
        pair.connect()
        let flow = try #require(pair.server.engine.flows[FlowTuple(local: pair.b, remote: pair.a)])
        pair.server.arrive(
            pair.a, pair.b, 1001 &+ UInt32(flow.receive.nextW), 5001 &+ UInt32(flow.send.sentW), [.rst, .ack])
        pair.serverSends(5001, 1001, [.fin, .ack])
        pair.server.advance(milliseconds: 3_100)
        #expect(flow.doubtedReset == nil)
        #expect(pair.server.engine.nextDeadline.map { $0 > pair.server.now } ?? true)
    }

    /// A peer that has reset is not alive because its engine can still answer.
    @Test func anEngineDoesNotAnswerForADeadKernel() {
        pair.connect()
        forgetWire()
        pair.clientSends(1001, 5001, [.rst, .ack])
        let announced = pair.client.takeSeen()
        #expect(announced.count == 2)
        pair.server.engine.flows[FlowTuple(local: pair.b, remote: pair.a)]?.initiateRekeying(
            pair.server.now, &pair.server.output)
        pair.server.drain()
        for bytes in pair.server.takeWire() { pair.client.feed(bytes, .inbound) }
        #expect(pair.client.takeSeen().map(\.payload) == announced.map(\.payload))
    }
}

extension [UInt8] {
    func contains(_ other: [UInt8]) -> Bool {
        indices.contains { self[$0...].starts(with: other) }
    }
}
