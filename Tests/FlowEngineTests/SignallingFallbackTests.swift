import PacketWire
import Tables
import Tcpcrypt
import Testing

@testable import FlowEngine

/// What makes a kernel fall back from MPTCP to TCP: where signalling is protected, only frames can (the article ProtectedSignalling).
@Suite struct SignallingFallbackTests {
    let pair = Pair(client: SignallingTests.host(1), server: SignallingTests.host(2))
    static let mapping = SignallingTests.dss(ack: 1, sequence: 9, subflow: 1, length: 3)

    /// A connection on which no kernel has been heard since the handshake.
    init() {
        Multipath(pair).connect()
        pair.wire = []
        _ = pair.client.takeKernel()
        _ = pair.server.takeKernel()
    }

    private func options(_ seen: Seen) -> [[UInt8]] {
        seen.options.ranges(of: 30).map { range in range.map { seen.options.span[$0] } }
    }

    private func clientWrites() {
        pair.clientSends(1001, 5001, [.ack, .psh], Multipath.timestamps + Self.mapping, [1, 2, 3])
        pair.settle()
        _ = pair.server.takeKernel()
    }

    /// Without its option the kernel would fall back, or reset the join.
    @Test func aThirdACKReachesTheKernelAsItWas() {
        let other = Pair(port: 40_001, client: pair.client, server: pair.server)
        Multipath(pair).join(other)
        #expect(pair.server.takeKernel().map(options).last == [joinACK])
    }

    /// What the client's kernel sends of which every other packet gets lost: as a SACK option with so many blocks.
    private func clientWritesWithHoles(_ count: Int) -> [UInt8] {
        for index in 0..<UInt8(2 * count) {
            let mapping = SignallingTests.dss(ack: 1, sequence: 9 + 3 * index, subflow: 1 + 3 * index, length: 3)
            pair.clientSends(
                1001 + 3 * UInt32(index), 5001, [.ack, .psh], Multipath.timestamps + mapping, [1, 2, 3])
        }
        let blocks = pair.client.takeSeen().enumerated().filter { $0.offset % 2 == 1 }.flatMap {
            $0.element.sequence.bigEndianBytes + ($0.element.sequence + UInt32($0.element.payload.count)).bigEndianBytes
        }
        #expect(blocks.count == 8 * count)
        return [5, UInt8(2 + blocks.count)] + blocks
    }

    /// The kernel would fall back without the acknowledgement of data. (Downloads over lossy paths ended early, without an error.)
    @Test(arguments: 1...3) func blocksOfSACKMakeRoomInTheFirstData(_ count: Int) throws {
        let sack = clientWritesWithHoles(count)
        pair.serverSends(5001, 1001, [.ack, .psh], Multipath.timestamps + Self.mapping, [1, 2, 3])
        let wire = try #require(pair.server.takeSeen().first { !$0.payload.isEmpty })
        pair.client.arrive(
            pair.b, pair.a, wire.sequence, wire.acknowledgment, [.ack, .psh],
            Multipath.timestamps + sack, wire.payload)
        let seen = try #require(pair.client.takeKernel().first { !$0.payload.isEmpty })
        #expect(options(seen) == [Self.mapping])
    }

    @Test(arguments: 1...3) func blocksOfSACKMakeRoomInTheFirstAcknowledgement(_ count: Int) throws {
        let sack = clientWritesWithHoles(count)
        pair.serverSends(5001, 1001, .ack, Multipath.timestamps + SignallingTests.dataAck(12))
        let wire = try #require(pair.server.takeSeen().last)
        pair.client.arrive(
            pair.b, pair.a, wire.sequence, wire.acknowledgment, .ack, Multipath.timestamps + sack, wire.payload)
        let seen = pair.client.takeKernel()
        #expect(!seen.isEmpty && seen.allSatisfy { options($0) == [SignallingTests.dataAck(12)] })
    }

    /// Somebody took the DSS out of the first acknowledgement, or there never was one.
    @Test func anAcknowledgementWithoutMPTCPDoesNotReachTheKernel() throws {
        clientWrites()
        let flow = try #require(pair.server.engine.flows[FlowTuple(local: pair.b, remote: pair.a)])
        let received = 1001 &+ UInt32(flow.receive.nextW)
        for options in [[], SignallingTests.dataAck(1)] {
            pair.client.arrive(
                pair.b, pair.a, 5001 &+ UInt32(flow.send.sentW), received, .ack, Multipath.timestamps + options)
        }
        #expect(pair.client.takeKernel().isEmpty)
    }

    @Test func theFirstAcknowledgementComesInAFrame() throws {
        clientWrites()
        pair.wire = []
        pair.serverSends(5001, 1004, .ack, Multipath.timestamps + SignallingTests.dataAck(12))
        pair.settle()
        let seen = pair.client.takeKernel()
        #expect(!seen.isEmpty)
        for packet in seen {
            #expect(options(packet) == [SignallingTests.dataAck(12)] && packet.acknowledgment == 1004)
        }
    }

    /// A kernel that has fallen back says nothing; its engine does, once.
    @Test func aKernelThatHasFallenBackIsBelieved() throws {
        clientWrites()
        pair.wire = []
        for _ in 0..<2 { pair.serverSends(5001, 1004, .ack, Multipath.timestamps) }
        pair.settle()
        #expect(pair.wire.count { $0.packet.source == pair.b && !$0.payload.isEmpty } == 1)
        let seen = pair.client.takeKernel()
        #expect(!seen.isEmpty && seen.allSatisfy { options($0).isEmpty && $0.acknowledgment == 1004 })
    }

    @Test func anOpenerDoesNotSayThatItHasFallenBack() {
        pair.serverSends(5001, 1001, [.ack, .psh], Multipath.timestamps, [1, 2, 3])
        pair.settle()
        pair.wire = []
        for _ in 0..<2 { pair.clientSends(1001, 5004, .ack, Multipath.timestamps) }
        pair.settle()
        #expect(pair.wire.allSatisfy { $0.packet.source != pair.a || $0.payload.isEmpty })
    }

    /// Whatever it says in MPTCP, and whatever it leaves out later.
    @Test(arguments: [[], [SignallingTests.addAddress]])
    func aKernelThatSpeaksMPTCPHasNotFallenBack(_ first: [[UInt8]]) {
        clientWrites()
        for option in first + [SignallingTests.dataAck(12)] {
            pair.serverSends(5001, 1004, .ack, Multipath.timestamps + option)
            pair.settle()
        }
        #expect(pair.client.takeKernel().contains { options($0) == [SignallingTests.dataAck(12)] })
        pair.wire = []
        pair.serverSends(5001, 1004, .ack, Multipath.timestamps)
        pair.settle()
        #expect(pair.wire.allSatisfy { $0.packet.source != pair.b || $0.payload.isEmpty })
    }

    /// What a kernel that waits for the handshake's end answers to a stray packet is no fallback.
    @Test func anAcknowledgementOfNothingIsNoFallback() {
        pair.serverSends(5001, 1001, .ack, Multipath.timestamps)
        pair.settle()
        #expect(pair.wire.allSatisfy { $0.packet.source != pair.b || $0.payload.isEmpty })
    }

    @Test func anEndWithoutDataKeepsMPTCP() {
        pair.serverSends(5001, 1001, .ack, Multipath.timestamps + SignallingTests.dataFIN)
        pair.settle()
        let fin = SignallingTests.dataFIN
        let seen = pair.client.takeKernel().flatMap(options)
        #expect(seen.allSatisfy { $0[3] & 1 != 0 } && seen.contains { $0.suffix(14) == fin.suffix(14) })
    }

    /// Forged into the segment that has the frame, either would be read in its place.
    @Test(arguments: [
        [30, 20, 1, 1] + Multipath.keyB + Multipath.keyA, [30, 24, 0x10, 0] + [UInt8](repeating: 7, count: 20),
    ])
    func optionsOfTheHandshakeDoNotReplaceTheDSS(_ forged: [UInt8]) throws {
        clientWrites()
        pair.serverSends(5001, 1004, .ack, Multipath.timestamps + SignallingTests.dataAck(12))
        let wire = try #require(pair.server.takeSeen().first { !$0.payload.isEmpty })
        pair.client.arrive(
            pair.b, pair.a, wire.sequence, wire.acknowledgment, [.ack, .psh], Multipath.timestamps + forged,
            wire.payload)
        #expect(pair.client.takeKernel().map(options) == [[SignallingTests.dataAck(12)]])
    }

    /// A segment with another option and no DSS would make it fall back.
    @Test(arguments: [SignallingTests.priority, SignallingTests.removeAddress, SignallingTests.addAddress])
    func otherSignalsWaitForTheFirstDSS(_ signal: [UInt8]) {
        clientWrites()
        pair.serverSends(5001, 1001, .ack, Multipath.timestamps + signal)
        pair.settle()
        #expect(pair.client.takeKernel().isEmpty)
        pair.serverSends(5001, 1004, .ack, Multipath.timestamps + SignallingTests.dataAck(12))
        pair.settle()
        #expect(pair.client.takeKernel().flatMap(options) == [SignallingTests.dataAck(12), signal])
    }

    /// However many there are; but a reset does not wait.
    @Test func signalsThatWaitAreBoundedAndAResetDoesNotWait() throws {
        clientWrites()
        for _ in 0..<100 {
            pair.serverSends(5001, 1001, .ack, Multipath.timestamps + SignallingTests.removeAddress)
            pair.settle()
        }
        let flow = try #require(pair.client.engine.flows[FlowTuple(local: pair.a, remote: pair.b)])
        #expect(flow.signalling.arrived.count == 64)
        pair.serverSends(5001, 1001, [.rst, .ack], [30, 12, 0x70, 0] + Multipath.keyA)
        pair.settle()
        #expect(pair.client.takeKernel().contains { $0.packet.flags.contains(.rst) })
    }
}
