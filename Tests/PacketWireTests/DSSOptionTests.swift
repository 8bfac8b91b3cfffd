import PacketWire
import TestSupport
import Testing

/// Data Sequence Signals (RFC 8684 section 3.3), read and made.
@Suite struct DSSOptionTests {
    private static let fin: UInt8 = 0x10
    private static let longSequence: UInt8 = 0x08
    private static let mapping: UInt8 = 0x04
    private static let longAck: UInt8 = 0x02
    private static let ack: UInt8 = 0x01

    /// Figure 9 of the RFC, in bytes.
    private static func length(_ flags: UInt8) -> Int {
        var length = 4
        if flags & ack != 0 { length += flags & longAck != 0 ? 8 : 4 }
        if flags & mapping != 0 { length += (flags & longSequence != 0 ? 8 : 4) + 6 }
        return length
    }

    /// What a DSS says, to be written as the RFC has it.
    private struct Values {
        var flags: UInt8
        var ack: UInt64 = 0x0102_0304_0506_0708
        var sequence: UInt64 = 0x1112_1314_1516_1718
        var subflow: UInt32 = 0x2122_2324
        var length: UInt16 = 0x3132
        var checksum: UInt16?

        var acknowledgment: [UInt8] {
            flags & DSSOptionTests.ack == 0 ? [] : bytes(ack, flags & DSSOptionTests.longAck == 0 ? 4 : 8)
        }
        var mapping: [UInt8] {
            guard flags & DSSOptionTests.mapping != 0 else { return [] }
            return bytes(sequence, flags & DSSOptionTests.longSequence == 0 ? 4 : 8) + bytes(UInt64(subflow), 4)
                + bytes(UInt64(length), 2) + (checksum.map { bytes(UInt64($0), 2) } ?? [])
        }
        var option: [UInt8] {
            [30, UInt8(4 + acknowledgment.count + mapping.count), 0x20, flags] + acknowledgment + mapping
        }

        private func bytes(_ value: UInt64, _ count: Int) -> [UInt8] {
            (0..<count).map { UInt8(truncatingIfNeeded: value >> UInt64(8 * (count - 1 - $0))) }
        }
    }

    @Test("every combination of flags in every length", arguments: UInt8.min...0xff)
    func flagsAndLengths(flags: UInt8) {
        for length in 0...44 {
            let isChecked = flags & Self.mapping != 0 && length == Self.length(flags) + 2
            let bytes = Array(([30, UInt8(length), 0x20, flags] + (0..<40)).prefix(length))
            let dss = DSSOption(bytes.span)
            #expect((dss != nil) == (length == Self.length(flags) || isChecked), "flags \(flags), \(length) bytes")
            guard let dss else { continue }
            #expect(dss.isDataFIN == (flags & Self.fin != 0) && dss.hasMapping == (flags & Self.mapping != 0))
            switch (flags & Self.ack != 0, flags & Self.longAck != 0) {
            case (false, _): #expect(dss.acknowledgment == nil)
            case (true, false): #expect(dss.acknowledgment == .low(0x0001_0203))
            case (true, true): #expect(dss.acknowledgment == .full(0x0001_0203_0405_0607))
            }
        }
    }

    @Test(
        "what is no DSS", arguments: ["", "1e", "1e 03 20", "1d 04 20 00", "1e 04 10 00", "1e 04 30 00", "1e 04 02 00"])
    func others(_ text: String) {
        #expect(DSSOption(hex(text).span) == nil)
    }

    /// The lower four bits of the subtype's byte are reserved.
    @Test func reservedBitsAreIgnored() {
        #expect(DSSOption(hex("1e 08 2f e1 00000007").span)?.acknowledgment == .low(7))
    }

    @Test(
        "32 bits stand for the nearest 64",
        arguments: [
            (0, 5, 5), (0x1_0000_0000, 5, 0x1_0000_0005), (0x1_ffff_fff0, 5, 0x2_0000_0005),
            (0x2_0000_0005, 0xffff_fff0, 0x1_ffff_fff0), (0x7_0000_0000, 0x7fff_ffff, 0x7_7fff_ffff),
            // Half the space away: behind.
            (0x7_0000_0000, 0x8000_0000, 0x6_8000_0000), (5, 0xffff_ffff, .max), (.max, 2, 2),
        ] as [(UInt64, UInt32, UInt64)])
    func expansion(known: UInt64, low: UInt32, expanded: UInt64) {
        #expect(DSSOption.Acknowledgment.low(low).expanded(near: known) == expanded)
    }

    @Test func expansionIsTheInverseOfCuttingOff() {
        Property.holds { random in
            let known = random.next()
            let distance = Int64(Int32(truncatingIfNeeded: random.next()))
            let value = known &+ UInt64(bitPattern: distance)
            let cut = DSSOption.Acknowledgment.low(UInt32(truncatingIfNeeded: value))
            if cut.expanded(near: known) != value { return "\(value) near \(known)" }
            let full = DSSOption.Acknowledgment.full(value)
            return full.expanded(near: random.next()) == value ? nil : "\(value) is 64 bits"
        }
    }

    // MARK: Made of others

    private static func random(_ random: inout SeededRandom) -> Values {
        let flags = UInt8(random.int(0...31))
        return Values(
            flags: flags, ack: random.next(), sequence: random.next(),
            subflow: UInt32(truncatingIfNeeded: random.next()),
            length: UInt16(truncatingIfNeeded: random.next()),
            checksum: flags & mapping != 0 && random.chance(0.5) ? UInt16(truncatingIfNeeded: random.next()) : nil)
    }

    /// The mapping stays what it was to the byte, the acknowledgement becomes the one given, or none.
    @Test func anotherAcknowledgementForTheSameMapping() {
        Property.holds(seeds: 0..<3000) { random in
            let old = Self.random(&random)
            let acknowledgment = random.chance(0.7) ? random.next() : nil
            let kept = old.flags & (Self.fin | Self.longSequence | Self.mapping)
            var new = old
            new.flags = kept | (acknowledgment == nil ? 0 : Self.ack | Self.longAck)
            new.ack = acknowledgment ?? 0
            var options = TCPOptions()
            let count = random.int(2...20)
            let before = [0xfd, UInt8(count)] + [UInt8](repeating: 7, count: count - 2)
            options.append(before.span)
            let fits = count + new.option.count <= 40
            if options.appendDSS(acknowledging: acknowledgment, mappedAs: old.option.span) != fits {
                return "\(new.option) behind \(count) bytes"
            }
            let added = Array(options.span.array[count...])
            return added == (fits ? new.option : []) ? nil : "\(old) became \(added)"
        }
    }

    @Test(
        arguments: [(nil, "1e 04 20 00"), (0x0102_0304_0506_0708, "1e 0c 20 03 0102030405060708")]
            as [(UInt64?, String)])
    func acknowledgementAlone(_ acknowledgment: UInt64?, _ expected: String) {
        for other in [nil, "1e 04 70 00", "1e 08 20 05 00000001"] as [String?] {
            var options = TCPOptions()
            let isAppended =
                if let other { options.appendDSS(acknowledging: acknowledgment, mappedAs: hex(other).span) } else {
                    options.appendDSS(acknowledging: acknowledgment)
                }
            #expect(isAppended)
            #expect(options.span.array == hex(expected), "what is no whole DSS says nothing")
        }
    }

    @Test(
        "a DATA_FIN that needs no data",
        arguments: [
            // With data in front of it, alone, and as nobody should send it; 64 and 32 bits.
            ("1e 12 20 1c 0000000000000100 00000005 0011", "1e 12 20 1c 0000000000000110 00000000 0001"),
            ("1e 12 20 1c 0000000000000100 00000000 0001", "1e 12 20 1c 0000000000000100 00000000 0001"),
            ("1e 12 20 1c 0000000000000100 00000000 0000", "1e 12 20 1c 0000000000000100 00000000 0001"),
            ("1e 12 20 1c fffffffffffffffe 00000005 0004", "1e 12 20 1c 0000000000000001 00000000 0001"),
            ("1e 0e 20 14 fffffffe 00000005 0004", "1e 0e 20 14 00000001 00000000 0001"),
            ("1e 0e 20 14 00000100 00000005 ffff", "1e 0e 20 14 000100fe 00000000 0001"),
            // Its acknowledgement and checksum are of another segment.
            (
                "1e 1c 20 1f 0102030405060708 0000000000000100 00000005 0011 abcd",
                "1e 12 20 1c 0000000000000110 00000000 0001"
            ),
            ("1e 12 20 15 01020304 00000100 00000005 0002", "1e 0e 20 14 00000101 00000000 0001"),
        ])
    func dataFIN(of other: String, expected: String) {
        var options = TCPOptions()
        let isAppended = options.appendDataFIN(of: hex(other).span)
        #expect(isAppended)
        #expect(options.span.array == hex(expected))
    }

    @Test func dataFINOfWhatHasNone() {
        Property.holds(seeds: 0..<2000) { random in
            let other = Self.random(&random)
            let isOne = other.flags & Self.fin != 0 && other.flags & Self.mapping != 0
            var options = TCPOptions()
            if options.appendDataFIN(of: other.option.span) != isOne { return "\(other.option)" }
            if !isOne { return options.count == 0 ? nil : "\(options.span.array) of \(other.option)" }
            guard let dss = DSSOption(options.span) else { return "\(options.span.array) is no DSS" }
            return dss.isDataFIN && dss.hasMapping && dss.acknowledgment == nil ? nil : "\(options.span.array)"
        }
        var options = TCPOptions()
        let full = hex("fd 1b") + [UInt8](repeating: 0, count: 25)
        options.append(full.span)
        let isAppended = options.appendDataFIN(of: hex("1e 0e 20 14 00000100 00000000 0001").span)
        #expect(!isAppended && options.count == 27, "13 bytes are too few")
    }

    @Test func anyBytesAreJudgedWithoutATrap() {
        Property.holds(seeds: 0..<5000) { random in
            let bytes = [30, UInt8(truncatingIfNeeded: random.next()), 0x20] + random.bytes(random.int(0...40))
            _ = DSSOption(bytes.span)
            var options = TCPOptions()
            options.appendDataFIN(of: bytes.span)
            options.appendDSS(acknowledging: nil, mappedAs: bytes.span)
            return options.count <= TCPOptions.capacity ? nil : "\(options.count)"
        }
    }
}
