import PacketWire
import TestSupport
import Testing

@Suite struct OptionTests {
    private func parsed(_ text: String) -> TCPOptions { TCPOptions(parsing: hex(text).span) }

    @Test(
        "what is kept of an option field",
        arguments: [
            ("", ""), ("01 01 01 01", ""), ("00 02 04 05b4", ""), ("02 04 05b4 00 03 03 07", "02 04 05b4"),
            ("01 03 03 07 01 01 04 02", "03 03 07 04 02"), ("fd 02 fe 04 aabb", "fd 02 fe 04 aabb"),
            // Absurd lengths end the list where they stand.
            ("02", ""), ("04 02 45", "04 02"), ("04 02 45 00 02 04 05b4", "04 02"), ("04 02 45 01 02 04 05b4", "04 02"),
            ("04 02 45 ff 02 04 05b4", "04 02"), ("45 05 23", ""), ("45 28 23", ""), ("02 04 05", ""),
            ("1e 00", ""), ("ff ff", ""),
        ])
    func parsing(field: String, kept: String) {
        let options = parsed(field)
        #expect(options.span.array == hex(kept))
    }

    @Test func aFieldOfAnyLengthIsReadToItsFortiethByte() {
        let long = [UInt8](repeating: 1, count: 36) + hex("05 0a 0000 0001 0000 0002 04 02")
        #expect(TCPOptions(parsing: long.span).count == 0, "an option across the end, and what follows, is ignored")
        let full = hex("fd 26") + [UInt8](repeating: 7, count: 36)
        #expect(TCPOptions(parsing: (full + hex("04 02 03 03 01")).span).count == 40)
        #expect(TCPOptions(parsing: (full + hex("03 03 01 04 02")).span).count == 38)
    }

    @Test func valuesOfKnownOptions() {
        let options = parsed("02 04 05b4 03 03 07 04 02 08 0a 01020304 05060708 45 03 23")
        #expect(options.maximumSegmentSize == 1460 && options.windowScale == 7)
        #expect(options.timestamps?.value == 0x0102_0304 && options.timestamps?.echo == 0x0506_0708)
        #expect(options.contains(TCPOptionKind.sackPermitted) && !options.contains(TCPOptionKind.sack))
        #expect(options.contents(of: TCPOptionKind.encryptionNegotiation) == [0x23])
        #expect(options.contents(of: TCPOptionKind.sackPermitted) == [])
        #expect(options.contents(of: TCPOptionKind.fastOpen) == nil)
        #expect(options.room == 40 - options.count && options.paddedCount == 24)
    }

    @Test("windows scale by 14 at most (RFC 7323 section 2.3)", arguments: 0...255)
    func windowScales(shift: Int) {
        #expect(TCPOptions(parsing: [3, 3, UInt8(shift)].span).windowScale == min(14, shift))
    }

    /// Where 16-bit fields stand that routers on the way may change, as if every one were at an even place.
    @Test(
        "no field that a router may change stands at an odd place",
        arguments: [
            // Fresh and resumed SYNs, SYN-ACKs, with and without timestamps and MPTCP.
            "02 04 05b4 04 02 08 0a 01020304 00000000 03 03 0a 45 03 23",
            "02 04 05b4 04 02 08 0a 01020304 00000000 03 03 0a 45 04 01 23",
            "02 04 05b4 04 02 03 03 0a 1e 04 01 81 45 0e a3 010203040506070809 0a 0b",
            "02 04 05b4 45 03 23", "02 04 05b4",
            // Later segments, also with options of odd lengths.
            "08 0a 01020304 00000000 05 0a 00000001 00000002", "08 0a 01020304 00000000 1e 03 50",
            "08 0a 01020304 00000000 1e 05 400102", "08 0a 01020304 00000000",
        ]) func evenPlaces(_ field: String)
    {
        var options = parsed(field)
        for size in [UInt16?.none, 1380] {
            if let size, options.contains(TCPOptionKind.maximumSegmentSize) { options.setMaximumSegmentSize(size) }
            var written = [UInt8](repeating: 0xee, count: options.paddedCount)
            var target = written.mutableSpan
            options.write(into: &target, at: 0)
            let again = TCPOptions(parsing: written.span)
            #expect(again.span.array == options.span.array)
            for kind in [TCPOptionKind.maximumSegmentSize, TCPOptionKind.timestamps, TCPOptionKind.sack] {
                guard let contents = options.contents(of: kind) else { continue }
                let place = written.indices.first {
                    written[$0...].starts(with: [kind, UInt8(contents.count + 2)] + contents)
                }
                #expect(place.map { $0 % 2 } == 0)
            }
        }
    }

    /// Every known option in every other length: none of them is read, and nothing traps.
    @Test func wrongLengthsAreNotRead() {
        for kind in UInt8.min...UInt8.max {
            for length in 2...40 {
                let option = [kind, UInt8(length)] + [UInt8](repeating: 0x22, count: length - 2)
                let options = TCPOptions(parsing: option.span)
                #expect((options.maximumSegmentSize != nil) == (kind == 2 && length == 4))
                #expect((options.windowScale != nil) == (kind == 3 && length == 3))
                #expect((options.timestamps != nil) == (kind == 8 && length == 10))
                #expect(options.sackBlocks.isEmpty != (kind == 5 && length % 8 == 2 && length > 2))
                #expect(options.mayBeJoin == false)
                for isSYN in [true, false] { _ = options.mptcpOption(isSYN: isSYN) }
            }
        }
    }

    @Test(arguments: 0...4) func sackBlocks(count: Int) {
        let option = [5, UInt8(2 + 8 * count)] + (0..<8 * count).map { UInt8($0) }
        let blocks = TCPOptions(parsing: option.span).sackBlocks
        #expect(blocks.map(\.start.rawValue) == (0..<count).map { option.span.loadUInt32(at: 2 + 8 * $0) })
        #expect(blocks.map(\.end.rawValue) == (0..<count).map { option.span.loadUInt32(at: 6 + 8 * $0) })
    }

    @Test func afterSettingThereIsOneMSS() {
        var options = parsed("02 04 ffff 04 02 02 04 fffe")
        options.setMaximumSegmentSize(1380)
        #expect(options.span.array == hex("02 04 0564 04 02"))
        var malformed = parsed("02 02 03 03 07")
        malformed.setMaximumSegmentSize(1380)
        #expect(malformed.span.array == hex("02 04 0564 03 03 07"))
    }

    @Test func nothingIsChangedWhereItDoesNotFit() {
        let full = hex("fd 26") + [UInt8](repeating: 7, count: 36)
        let (eno, tooLong) = (hex("45 03 23"), [UInt8](repeating: 9, count: 41))
        var options = TCPOptions(parsing: full.span)
        let taken = [
            options.append(eno.span), options.replace(69, with: eno.span), options.replace(0xfd, with: tooLong.span),
        ]
        options.set(1, at: 38)
        #expect(taken == [false, false, false] && options.span.array == full)
        let isReplaced = options.replace(0xfd, with: eno.span)
        #expect(isReplaced && options.span.array == eno)
    }

    // MARK: - Against a model

    /// The same edits on a list of options and on the packed form.
    @Test func editsAgreeWithAList() {
        Property.holds(seeds: 0..<2000) { random in
            var (options, model) = (TCPOptions(), [[UInt8]]())
            for _ in 0..<20 {
                let kind = random.pick([2, 3, 5, 8, 30, 69] as [UInt8])
                let option = [kind, UInt8(random.int(2...14))]
                let whole = option + random.bytes(Int(option[1]) - 2)
                let count = model.joined().count
                switch random.int(0...3) {
                case 0:
                    let fits = count + whole.count <= 40
                    if options.append(whole.span) != fits { return "append \(whole) to \(model)" }
                    if fits { model.append(whole) }
                case 1:
                    options.remove(kind)
                    model.removeAll { $0[0] == kind }
                case 2:
                    let old = model.firstIndex { $0[0] == kind }
                    let fits = count - (old.map { model[$0].count } ?? 0) + whole.count <= 40
                    if options.replace(kind, with: whole.span) != fits { return "replace \(whole) in \(model)" }
                    if fits {
                        if let old { model.remove(at: old) }
                        model.append(whole)
                    }
                default:
                    options = TCPOptions(parsing: options.span)
                }
                let ranges = options.ranges(of: kind).map { Array(options.span.array[$0]) }
                if ranges != model.filter({ $0[0] == kind }) { return "\(ranges) of kind \(kind) in \(model)" }
                if options.span.array != Array(model.joined()) { return "\(options.span.array) for \(model)" }
            }
            return nil
        }
    }

    @Test func writtenOptionsAreAlignedByNOPs() {
        for count in [0, 2, 3, 4, 10, 39, 40] {
            let option = count == 0 ? [] : [0xfd, UInt8(count)] + [UInt8](repeating: 5, count: count - 2)
            let options = TCPOptions(parsing: option.span)
            var bytes = [UInt8](repeating: 0xaa, count: options.paddedCount + 2)
            var span = bytes.mutableSpan
            options.write(into: &span, at: 1)
            // In front, and one behind what is odd.
            let odd = [UInt8](repeating: 1, count: count % 2)
            let nops = [UInt8](repeating: 1, count: options.paddedCount - count - odd.count)
            #expect(bytes == [0xaa] + nops + option + odd + [0xaa] && options.paddedCount % 4 == 0)
        }
    }
}

extension Span<UInt8> {
    var array: [UInt8] { indices.map { self[$0] } }
}
