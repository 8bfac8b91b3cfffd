import PacketWire
import Tcpcrypt
import TestSupport
import Testing

@testable import FlowEngine

/// Held packets against a model that asks every byte.
@Suite struct HeldPacketOrderTests {
    @Test(arguments: 0..<300 as Range<UInt64>) func everyPlaceIsFound(seed: UInt64) {
        var random = SeededRandom(seed: seed)
        var held = HeldPackets()
        var expected: Set<UInt32?> = []
        var floor = 0
        for number in 0..<random.int(1...120) as Range<Int> {
            let start = floor + random.int(0...60)
            let w = start..<start + (random.chance(0.15) ? 0 : random.int(1...25))
            let packet = Self.packet(UInt32(number), w, isFIN: random.chance(0.1))
            expected.insert(packet.id?.number)
            for dropped in held.insert(packet) {
                expected.remove(dropped.id?.number)
                // Nothing that it alone covers is lost.
                #expect(dropped.w.isEmpty || held.covers(dropped.w))
            }
            if random.chance(0.1) {
                let range = start..<start + random.int(1...20)
                let removed = held.remove(touching: range)
                for packet in removed { expected.remove(packet.id?.number) }
                #expect(!held.packets.contains { $0.w.overlaps(range) })
                #expect(!held.packets.contains { $0.w.isEmpty && range.contains($0.w.lowerBound) })
            }
            if random.chance(0.05), let last = held.popLast(beginningAbove: start) {
                expected.remove(last.id?.number)
                #expect(last.w.lowerBound > start)
            }
            if random.chance(0.1) {
                floor += random.int(0...10)
                while let first = held.popFirst(endingBy: floor) { expected.remove(first.id?.number) }
            }
            held.uncover(below: floor)
            Self.check(&held, floor, expected)
        }
    }

    private static func check(_ held: inout HeldPackets, _ floor: Int, _ expected: Set<UInt32?>) {
        #expect(Set(held.packets.map { $0.id?.number }) == expected && held.count == expected.count)
        for (left, right) in zip(held.packets, held.packets.dropFirst()) {
            #expect(left.w.lowerBound <= right.w.lowerBound && left.w.upperBound <= right.w.upperBound)
        }
        for (left, right) in zip(held.ranges, held.ranges.dropFirst()) {
            #expect(!left.isEmpty && left.upperBound < right.lowerBound)
        }
        let isHere = (floor..<floor + 120).map { w in held.packets.contains { $0.w.contains(w) } }
        var scratch = [UInt8](repeating: 0, count: 64)
        for first in floor..<floor + 90 {
            #expect(held.ranges.contains { $0.contains(first) } == isHere[first - floor], "W \(first)")
            for count in [1, 3, 20] {
                let isAll = isHere[first - floor..<first - floor + count].allSatisfy { $0 }
                let range = first..<first + count
                #expect(held.covers(range) == isAll)
                let isGathered = held.gather(range, into: &scratch)
                #expect(isGathered == isAll)
                if isAll { #expect(range.allSatisfy { scratch[$0 - first] == UInt8(truncatingIfNeeded: $0) }) }
            }
        }
        let hole = isHere.firstIndex(of: false) ?? isHere.count
        #expect(held.end(covering: floor) == floor + hole)
    }

    /// Every byte tells its place.
    private static func packet(_ number: UInt32, _ w: Range<Int>, isFIN: Bool) -> HeldPacket {
        let bytes = TestSegment(
            source: stranger, destination: stranger, sequence: 0, flags: isFIN ? [.ack, .fin] : .ack,
            payload: w.map { UInt8(truncatingIfNeeded: $0) }
        ).bytes
        guard let packet = try? TCPPacket(parsing: bytes.span) else { preconditionFailure("a packet of our own") }
        return HeldPacket(id: PacketID(queue: 0, number: number), bytes: bytes, packet: packet, w: w)
    }

    @Test func theSACKBlockOfTheLatestComesFirst() {
        var held = HeldPackets()
        for (number, w) in [10..<20, 20..<30, 40..<50, 60..<70, 80..<90].enumerated() {
            _ = held.insert(Self.packet(UInt32(number), w, isFIN: false))
        }
        #expect(held.sackBlocks(above: 0, latest: 60, limit: 3) == [60..<70, 80..<90, 40..<50])
        // Those that changed last come before others, as acknowledgements get lost (RFC 2018 section 4).
        _ = held.insert(Self.packet(9, 30..<32, isFIN: false))
        #expect(held.sackBlocks(above: 0, latest: nil, limit: 4) == [10..<32, 80..<90, 60..<70, 40..<50])
        // The first piece of the frame at the acknowledgement is not told.
        #expect(held.sackBlocks(above: 10, latest: 40, limit: 2) == [40..<50, 20..<32])
        #expect(held.blockChanges == 5)
    }

    @Test func aStreamMayHaveOnlySoManyHoles() {
        var held = HeldPackets()
        for number in 0..<HeldPackets.mostRanges {
            #expect(!held.isTooScattered(10 * number..<10 * number + 5))
            _ = held.insert(Self.packet(UInt32(number), 10 * number..<10 * number + 5, isFIN: false))
        }
        #expect(held.isTooScattered(10 * HeldPackets.mostRanges..<10 * HeldPackets.mostRanges + 5))
        #expect(held.isTooScattered(7..<8))
        #expect(!held.isTooScattered(5..<8) && !held.isTooScattered(7..<10) && !held.isTooScattered(0..<50))
    }
}
