import PacketWire
import TestSupport
import Testing

/// The options of RFC 8684 in the shapes of each segment, version 1.
@Suite struct MPTCPOptionTests {
    private static let keyA = "0102030405060708"
    private static let keyB = "1112131415161718"
    private static let mac = "a0a1a2a3a4a5a6a7"
    private static let capableACK = MPTCPOption.capableACK(
        senderKey: 0x0102_0304_0506_0708, receiverKey: 0x1112_1314_1516_1718)

    private static let shapes: [(String, isSYN: Bool, MPTCPOption?)] = [
        ("1e04 01 01", true, .capableSYN), ("1e04 02 01", true, .capableSYN),
        ("1e0c 01 01 \(keyA)", true, .capableSYNACK(senderKey: 0x0102_0304_0506_0708)),
        ("1e14 01 01 \(keyA) \(keyB)", false, capableACK), ("1e16 01 01 \(keyA) \(keyB) 0005", false, capableACK),
        ("1e18 01 81 \(keyA) \(keyB) 0005 ffff", false, capableACK),
        // Version 0: keys on the SYN already. Linux speaks version 1 alone, and so does what follows a SYN.
        ("1e0c 00 81 \(keyA)", true, .other), ("1e04 00 01", true, .other), ("1e0c 02 01 \(keyA)", true, .other),
        ("1e14 00 01 \(keyA) \(keyB)", false, .other), ("1e14 02 01 \(keyA) \(keyB)", false, .other),
        // The shape of another segment.
        ("1e04 01 01", false, .other), ("1e0c 01 01 \(keyA)", false, .other),
        ("1e14 01 01 \(keyA) \(keyB)", true, .other),
        ("1e15 01 01 \(keyA) \(keyB) 00", false, .other), ("1e1c 01 01 \(keyA) \(keyB) \(mac)", false, .other),
        ("1e0c 10 02 aabbccdd 01020304", true, .joinSYN(token: 0xaabb_ccdd, random: 0x0102_0304)),
        ("1e0c 11 02 aabbccdd 01020304", true, .joinSYN(token: 0xaabb_ccdd, random: 0x0102_0304)),
        ("1e10 10 02 \(mac) 01020304", true, .joinSYNACK(random: 0x0102_0304)),
        ("1e18 10 00 \(mac) \(mac) 01020304", false, .joinACK), ("1e0c 10 02 aabbccdd 01020304", false, .other),
        ("1e0b 10 02 aabbccdd 010203", true, .other), ("1e08 20 01 00000001", false, .dss),
        ("1e14 20 05 00000001 00000002 00000003 0004 0000", false, .dss),
        ("1e0c 70 00 \(keyA)", false, .fastClose(receiverKey: 0x0102_0304_0506_0708)),
        ("1e0b 70 00 01020304050607", false, .other),
        ("1e04 80 00", false, .other), ("1e03 20", false, nil), ("1e02", true, nil), ("0504 0101", true, nil),
        ("", true, nil),
    ]

    @Test(arguments: shapes.indices) func shape(_ index: Int) {
        let (text, isSYN, expected) = Self.shapes[index]
        #expect(MPTCPOption(hex(text).span, isSYN: isSYN) == expected, "\(text)")
    }

    /// The one that decides, whatever stands around it.
    @Test(arguments: [
        ("1e0c 10 02 000000aa 00000001 1e0c 10 02 000000bb 00000002", MPTCPOption.joinSYN(token: 0xbb, random: 2)),
        ("1e10 10 02 \(mac) 00000003 1e0c 10 02 000000aa 00000001", .joinSYN(token: 0xaa, random: 1)),
        ("1e0c 10 02 000000aa 00000001 1e10 10 02 \(mac) 00000003", .joinSYN(token: 0xaa, random: 1)),
        ("1e0c 10 02 000000aa 00000001 1e04 01 01", .joinSYN(token: 0xaa, random: 1)),
        ("1e04 01 01 1e0c 10 02 000000aa 00000001", .joinSYN(token: 0xaa, random: 1)),
        ("1e08 30 00 00000000 1e04 01 01 1e03 20", .capableSYN), ("1e08 20 00 00000000 1e04 f0 01", .dss),
        ("1e04 f0 01 1e08 20 00 00000000", .other),
    ])
    func precedence(text: String, expected: MPTCPOption) {
        #expect(TCPOptions(parsing: hex(text).span).mptcpOption(isSYN: true) == expected)
    }

    @Test func joinsAreSuspectedInAnyLength() {
        for length in 2...40 {
            for subtype in UInt8.min...15 {
                let option = [30, UInt8(length), subtype << 4, 0].prefix(length)
                let bytes = option + [UInt8](repeating: 0, count: length - option.count)
                #expect(TCPOptions(parsing: bytes.span).mayBeJoin == (subtype == 1 && length >= 3))
            }
        }
        #expect(TCPOptions(parsing: hex("1e04 01 01 1e04 10 00").span).mayBeJoin, "behind another")
    }

    @Test(
        "an MP_CAPABLE with data becomes one without",
        arguments: [
            ("1e16 01 01 \(keyA) \(keyB) 0005", "1e14 01 01 \(keyA) \(keyB)"),
            (
                "1e18 01 81 \(keyA) \(keyB) 0005 ffff 08 0a 00000001 00000002",
                "1e14 01 81 \(keyA) \(keyB) 08 0a 00000001 00000002"
            ),
            ("1e08 30 00 00000000 1e16 01 01 \(keyA) \(keyB) 0005", "1e08 30 00 00000000 1e14 01 01 \(keyA) \(keyB)"),
            ("1e14 01 01 \(keyA) \(keyB)", "1e14 01 01 \(keyA) \(keyB)"),
            ("1e16 20 05 \(keyA) \(keyB) 0005", "1e16 20 05 \(keyA) \(keyB) 0005"),
            ("", ""),
        ])
    func dataLengthIsDropped(before: String, after: String) {
        var options = TCPOptions(parsing: hex(before).span)
        options.dropMPTCPDataLength()
        #expect(options.span.array == hex(after))
    }

    @Test func anyBytesAreJudgedWithoutATrap() {
        Property.holds(seeds: 0..<5000) { random in
            let bytes = [30] + random.bytes(random.int(0...60))
            for isSYN in [true, false] { _ = MPTCPOption(bytes.span, isSYN: isSYN) }
            _ = TCPOptions(parsing: bytes.span).mptcpOption(isSYN: random.chance(0.5))
            return nil
        }
    }
}
