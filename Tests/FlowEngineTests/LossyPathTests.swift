import PacketWire
import Testing

@testable import FlowEngine

/// What the engine does so that a sender recovers from losses as it would without it.
@Suite struct LossyPathTests {
    private static func connected() -> Pair {
        let pair = Pair()
        pair.connect()
        _ = pair.server.takeKernel()
        return pair
    }

    private static func data(_ count: Int) -> [UInt8] { (0..<count).map { UInt8(truncatingIfNeeded: $0) } }

    private static func superPacket(_ pair: Pair, _ seq: UInt32, segments: Int) -> [[UInt8]] {
        let payload = data(segments * 1440)
        pair.client.feed(
            TestSegment(
                source: pair.a, destination: pair.b, sequence: seq, acknowledgment: 5001, flags: [.ack, .psh],
                payload: payload
            ).bytes, .outbound, isGSO: true)
        return pair.client.takeWire()
    }

    // MARK: Frames and segments

    @Test func aRetransmissionMakesFramesAsShortAsSegments() throws {
        let pair = Self.connected()
        // At first one super-packet with one frame, which the kernel cuts.
        #expect(Self.superPacket(pair, 1001, segments: 4).count == 1)
        pair.clientSends(1001, 5001, .ack, [], Self.data(1440))
        _ = pair.client.takeWire()
        let before = pair.client.engine.counters.framesSealed
        let packets = Self.superPacket(pair, 1001 + 4 * 1440, segments: 4)
        #expect(packets.count == 4)
        #expect(pair.client.engine.counters.framesSealed == before + 4)
        // Each can be opened without the others.
        var map = SequenceMap()
        for bytes in packets {
            let seen = try #require(Seen(bytes))
            #expect(seen.payload.count == 1440 + 20)
            map.append(kCount: 1440, wCount: seen.payload.count, lead: 4)
        }
        // After a while without loss they are long again.
        pair.client.now = pair.client.now.adding(milliseconds: FlowTime.lossy)
        #expect(Self.superPacket(pair, 1001 + 8 * 1440, segments: 4).count == 1)
    }

    /// Over a long path frames are short before anything is lost.
    @Test func aLongPathHasShortFrames() {
        for (milliseconds, packets) in [(1 as Int64, 1), (20, 4)] {
            let pair = Pair()
            pair.clientSends(1000, 0, .syn, [2, 4, 5, 180, 4, 2])
            pair.settle()
            for host in [pair.client, pair.server] { host.advance(milliseconds: milliseconds) }
            pair.serverSends(5000, 1001, [.syn, .ack], [2, 4, 5, 180, 4, 2])
            pair.settle()
            pair.clientSends(1001, 5001, .ack)
            pair.settle()
            #expect(Self.superPacket(pair, 1001, segments: 4).count == packets)
        }
    }

    @Test func aLongSuperPacketStaysOne() throws {
        let pair = Self.connected()
        pair.clientSends(1001, 5001, .ack, [], Self.data(1440))
        pair.clientSends(1001, 5001, .ack, [], Self.data(1440))
        _ = pair.client.takeWire()
        let before = pair.client.engine.counters.framesSealed
        let packets = Self.superPacket(pair, 1001 + 1440, segments: 20)
        #expect(packets.count == 1)
        // Frames as long as the segments the kernel makes of it: 1440 bytes each.
        let count = try #require(packets.first.flatMap { Seen($0) }).payload.count
        #expect(pair.client.engine.counters.framesSealed == before + UInt64((count + 1439) / 1440))
    }

    // MARK: What the kernel delays to acknowledge

    @Test func theKernelIsAskedForWhatLiesInFrontOfAHole() throws {
        let pair = Self.connected()
        for index in 0..<4 as Range<UInt32> { pair.clientSends(1001 + 1000 * index, 5001, .ack, [], Self.data(1000)) }
        let packets = pair.client.takeWire()
        pair.server.feed(packets[0], .inbound)
        _ = pair.server.takeKernel()
        _ = pair.server.takeWire()
        pair.server.feed(packets[2], .inbound)
        // The kernel's answer will carry the block: an acknowledgement now would make the first packet look lost.
        #expect(pair.server.takeWire().isEmpty)
        let asked = try #require(pair.server.takeKernel().last)
        #expect(asked.payload == [0] && asked.packet.flags == .ack)
        // Beyond any window there can be, whatever the kernel has advertised since, and not behind what has been.
        let distance = asked.packet.sequence.distance(from: SequenceNumber(1001))
        #expect(distance > 1 << 30 && distance < Int(Int32.max) - (1 << 28))
        pair.serverSends(5001, 2001, .ack)
        let answer = try #require(pair.server.takeSeen().last)
        let second = try #require(Seen(packets[2]))
        #expect(answer.options.sackBlocks.map(\.start) == [second.packet.sequence])
        // The kernel has acknowledged everything it has: it is not asked again.
        pair.server.feed(packets[3], .inbound)
        #expect(pair.server.takeKernel().isEmpty && pair.server.takeWire().count == 1)
    }

    @Test func aKernelThatDoesNotAnswerStopsNothing() throws {
        let pair = Self.connected()
        for index in 0..<3 as Range<UInt32> { pair.clientSends(1001 + 1000 * index, 5001, .ack, [], Self.data(1000)) }
        let packets = pair.client.takeWire()
        pair.server.feed(packets[0], .inbound)
        pair.server.feed(packets[2], .inbound)
        _ = pair.server.takeWire()
        pair.server.advance(milliseconds: 2)
        pair.server.advance(milliseconds: 2)
        #expect(pair.server.takeSeen().contains { !$0.options.sackBlocks.isEmpty })
    }

    // MARK: Few acknowledgements

    /// The first packets behind a hole are told one by one, then several together, and none is left untold.
    @Test func acknowledgementsOfHeldPacketsAreFew() throws {
        let pair = Self.connected()
        for index in 0..<40 as Range<UInt32> { pair.clientSends(1001 + 1000 * index, 5001, .ack, [], Self.data(1000)) }
        let packets = pair.client.takeWire()
        for bytes in packets.dropFirst() { pair.server.feed(bytes, .inbound) }
        #expect(pair.server.takeWire().count == 3)
        pair.server.advance(milliseconds: 1)
        let answers = pair.server.takeSeen()
        #expect(answers.count == 1)
        let last = try #require(Seen(packets[39]))
        #expect(answers.first?.options.sackBlocks.first?.end == last.packet.sequence + last.payload.count)
        pair.server.advance(milliseconds: 50)
        #expect(pair.server.takeWire().isEmpty)
    }

    /// More holes than an acknowledgement can tell of are told before they are forgotten.
    @Test func everyHoleIsTold() throws {
        let pair = Self.connected()
        for index in 0..<40 as Range<UInt32> { pair.clientSends(1001 + 1000 * index, 5001, .ack, [], Self.data(1000)) }
        let packets = pair.client.takeWire()
        let arriving = packets.indices.filter { $0 % 2 == 1 }
        for index in arriving { pair.server.feed(packets[index], .inbound) }
        pair.server.advance(milliseconds: 1)
        let told = Set(pair.server.takeSeen().flatMap { $0.options.sackBlocks.map(\.start.rawValue) })
        #expect(told == Set(arriving.compactMap { Seen(packets[$0])?.sequence }))
    }

    /// Six segments of 1000 bytes, of which the first came last.
    private static func releasedAtOneStroke() -> (pair: Pair, packets: [[UInt8]]) {
        let pair = connected()
        for index in 0..<6 as Range<UInt32> { pair.clientSends(1001 + 1000 * index, 5001, .ack, [], data(1000)) }
        let packets = pair.client.takeWire()
        for bytes in packets.dropFirst() + packets.prefix(1) { pair.server.feed(bytes, .inbound) }
        _ = pair.server.takeWire()
        return (pair, packets)
    }

    /// What a hole held up reaches the kernel at one stroke; the acknowledgements of its parts would say that the rest is missing.
    @Test func partsOfWhatWasReleasedAreNotAcknowledged() throws {
        let (pair, packets) = Self.releasedAtOneStroke()
        pair.serverSends(5001, 3001, .ack)
        pair.serverSends(5001, 5001, .ack)
        #expect(pair.server.takeWire().isEmpty)
        pair.serverSends(5001, 7001, .ack)
        let last = try #require(Seen(packets[5]))
        #expect(pair.server.takeSeen().map(\.acknowledgment) == [(last.packet.sequence + last.payload.count).rawValue])
    }

    @Test func aPartThatTheKernelStopsAtIsAcknowledgedSoon() throws {
        let (pair, packets) = Self.releasedAtOneStroke()
        pair.serverSends(5001, 3001, .ack)
        for _ in 0..<3 { pair.server.advance(milliseconds: 2) }
        let second = try #require(Seen(packets[2]))
        #expect(pair.server.takeSeen().last?.acknowledgment == second.sequence)
    }

    /// What only an acknowledgement can carry once is not lost with it.
    @Test func whatMPTCPSaysOnceLeavesWithAnyAcknowledgement() throws {
        let pair = Self.releasedAtOneStroke().pair
        let removeAddress: [UInt8] = [30, 4, 0x40, 2]
        pair.serverSends(5001, 3001, .ack, removeAddress)
        #expect(pair.server.takeSeen().count == 1)
        let dataAcknowledgement: [UInt8] = [30, 8, 0x20, 1, 0, 0, 0, 9]
        pair.serverSends(5001, 4001, .ack, dataAcknowledgement)
        #expect(pair.server.takeWire().isEmpty)
    }

    // MARK: Late packets

    private static func time(_ milliseconds: Int64) -> Instant {
        Instant(nanoseconds: 0).adding(milliseconds: milliseconds)
    }

    /// A hole that closes before a repetition can have come was no loss; the next ones are told that much later, and a bit.
    @Test func holesOfALatePathAreToldLate() {
        let roundTrip: Int64 = 50_000_000
        var lateness = Lateness()
        lateness.note(hole: 1000, Self.time(0), roundTrip: roundTrip)
        #expect(lateness.patience(Self.time(0), roundTrip: roundTrip) == nil)
        lateness.note(hole: nil, Self.time(4), roundTrip: roundTrip)
        #expect(lateness.most == 4_000_000)
        lateness.note(hole: 9000, Self.time(10), roundTrip: roundTrip)
        #expect(lateness.patience(Self.time(11), roundTrip: roundTrip) == Self.time(15))
        #expect(lateness.patience(Self.time(15), roundTrip: roundTrip) == nil)
        // No longer than a quarter of the round trip.
        #expect(lateness.patience(Self.time(11), roundTrip: 8_000_000) == Self.time(12))
        // What took a repetition was lost: after some of these patience ends.
        for index in 1...30 as ClosedRange<Int64> {
            lateness.note(hole: Int(10_000 * index), Self.time(100 * index), roundTrip: roundTrip)
        }
        #expect(lateness.most < 200_000)
    }

    /// Without timestamps, which a resumed MPTCP subflow has no room for, nobody else would see that a packet is only late.
    @Test func aLatePacketIsNotReportedMissing() {
        let pair = Pair()
        pair.clientSends(1000, 0, .syn, [2, 4, 5, 180, 4, 2])
        pair.settle()
        for host in [pair.client, pair.server] { host.advance(milliseconds: 40) }
        pair.serverSends(5000, 1001, [.syn, .ack], [2, 4, 5, 180, 4, 2])
        pair.settle()
        for host in [pair.client, pair.server] { host.advance(milliseconds: 40) }
        pair.clientSends(1001, 5001, .ack)
        pair.settle()
        for index in 0..<4 as Range<UInt32> { pair.clientSends(1001 + 1000 * index, 5001, .ack, [], Self.data(1000)) }
        let packets = pair.client.takeWire()
        _ = pair.server.takeWire()
        pair.server.feed(packets[1], .inbound)
        #expect(pair.server.takeWire().count == 1)
        pair.server.advance(milliseconds: 4)
        pair.server.feed(packets[0], .inbound)
        pair.serverSends(5001, 3001, .ack)
        _ = pair.server.takeWire()
        // The next one is given time.
        pair.server.feed(packets[3], .inbound)
        pair.server.advance(milliseconds: 3)
        #expect(pair.server.takeWire().isEmpty)
        pair.server.advance(milliseconds: 3)
        #expect(pair.server.takeSeen().last?.options.sackBlocks.count == 1)
    }
}
