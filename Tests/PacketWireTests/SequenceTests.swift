import PacketWire
import TestSupport
import Testing

@Suite struct SequenceTests {
    @Test(
        "distances are modular and the nearest",
        arguments: [
            (0, 0, 0), (1, 0, 1), (0, 1, -1), (5, 0xffff_ffff, 6), (0xffff_ffff, 5, -6), (0x7fff_ffff, 0, 0x7fff_ffff),
            (0x8000_0000, 0, -0x8000_0000), (0, 0x8000_0000, -0x8000_0000), (0x8000_0001, 0, -0x7fff_ffff),
        ] as [(UInt32, UInt32, Int)])
    func distance(number: UInt32, origin: UInt32, expected: Int) {
        #expect(SequenceNumber(number).distance(from: SequenceNumber(origin)) == expected)
    }

    @Test func additionWraps() {
        #expect(SequenceNumber(0xffff_fff0) + 0x20 == SequenceNumber(0x10))
        #expect(SequenceNumber(0x10) + -0x20 == SequenceNumber(0xffff_fff0))
        #expect(SequenceNumber(7) + (1 << 32) == SequenceNumber(7))
        #expect(SequenceNumber(7) + Int.max == SequenceNumber(6))
        #expect(SequenceNumber(7) + Int.min == SequenceNumber(7))
    }

    @Test func addingADistanceGoesThere() {
        Property.holds { random in
            let (a, b) = (SequenceNumber(UInt32(random.next() >> 32)), SequenceNumber(UInt32(random.next() >> 32)))
            return a + b.distance(from: a) == b ? nil : "\(a) \(b)"
        }
    }

    @Test func theStreamBeginsAfterTheSYN() {
        let origin = SequenceOrigin(initial: SequenceNumber(0xffff_ffff))
        #expect(origin.sequence(at: -1) == SequenceNumber(0xffff_ffff))
        #expect(origin.sequence(at: 0) == SequenceNumber(0))
        #expect(origin.offset(of: SequenceNumber(0xffff_ffff), near: 0) == -1)
    }

    @Test func offsetsBeyond4GBAreFoundNearTheReference() {
        Property.holds { random in
            let origin = SequenceOrigin(initial: SequenceNumber(UInt32(random.next() >> 32)))
            let offset = random.logarithmic(0...1 << 40)
            let reference = max(-1, offset + random.int(-0x7fff_ffff...0x7fff_ffff))
            let found = origin.offset(of: origin.sequence(at: offset), near: reference)
            return found == offset ? nil : "\(offset) near \(reference) became \(found)"
        }
    }
}
