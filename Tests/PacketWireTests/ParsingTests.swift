import PacketWire
import TestSupport
import Testing

/// IP and TCP headers of whole packets, the well-formed and all others.
@Suite struct ParsingTests {
    private static let tcp = hex("1f90 c350 01020304 05060708 8018 ffff 0000 0007") + options + [0x61, 0x62, 0x63]
    private static let options = hex("01 01 08 0a 00000001 00000002")
    private static let source = IPAddress(ipv6High: 0x2001_0db8 << 32, low: 1)

    private static func ipv4(_ segment: [UInt8] = tcp, options: [UInt8] = []) -> [UInt8] {
        let (header, total) = (20 + options.count, 20 + options.count + segment.count)
        return [UInt8(0x40 | header / 4), 0, UInt8(total >> 8), UInt8(total & 0xff)] + hex("0000 4000 40 06 0000")
            + hex("0a000102 c0000201") + options + segment
    }

    /// - Parameter extensions: next-header number and bytes of each, whose first byte is filled in here.
    private static func ipv6(_ segment: [UInt8] = tcp, extensions: [(UInt8, [UInt8])] = []) -> [UInt8] {
        let kinds = extensions.map(\.0) + [6]
        let chain = zip(extensions, kinds.dropFirst()).flatMap { [$1] + $0.1.dropFirst() }
        let count = chain.count + segment.count
        return [0x60, 0, 0, 0, UInt8(count >> 8), UInt8(count & 0xff), kinds[0], 64]
            + source.bytes + IPAddress(ipv6High: 0, low: 1).bytes + chain + segment
    }

    private static func block(_ units: Int) -> [UInt8] {
        [0, UInt8(units - 1)] + [UInt8](repeating: 0xee, count: units * 8 - 2)
    }

    private static let wellFormed: [(String, [UInt8], Int)] = [
        ("IPv4", ipv4(), 20), ("IPv4 with options", ipv4(options: hex("94040000 01010101")), 28),
        ("IPv4, longest header", ipv4(options: [UInt8](repeating: 1, count: 40)), 60), ("IPv6", ipv6(), 40),
        ("hop-by-hop", ipv6(extensions: [(0, block(1))]), 48), ("routing", ipv6(extensions: [(43, block(3))]), 64),
        ("destination", ipv6(extensions: [(60, block(256))]), 40 + 2048),
        ("all three", ipv6(extensions: [(0, block(1)), (60, block(1)), (43, block(2)), (60, block(1))]), 80),
    ]

    private func error(_ bytes: [UInt8]) -> PacketError? {
        do throws(PacketError) {
            _ = try TCPPacket(parsing: bytes.span)
            return nil
        } catch {
            return error
        }
    }

    @Test(arguments: wellFormed.indices) func fieldsAreRead(_ index: Int) throws {
        let (_, bytes, tcpOffset) = Self.wellFormed[index]
        let packet = try TCPPacket(parsing: bytes.span)
        let isIPv6 = bytes[0] == 0x60
        #expect(packet.isIPv6 == isIPv6)
        #expect(packet.source.description == (isIPv6 ? "[2001:db8::1]:8080" : "10.0.1.2:8080"))
        #expect(packet.destination.description == (isIPv6 ? "[::1]:50000" : "192.0.2.1:50000"))
        #expect(packet.sequence == SequenceNumber(0x0102_0304))
        #expect(packet.acknowledgment == SequenceNumber(0x0506_0708))
        #expect(packet.flags == [.psh, .ack])
        #expect(packet.window == 65_535 && packet.urgentPointer == 7)
        #expect(packet.tcpOffset == tcpOffset)
        #expect(packet.options == tcpOffset + 20..<tcpOffset + 32)
        #expect(packet.payload == tcpOffset + 32..<bytes.count)
        #expect(packet.sequenceLength == 3)
    }

    @Test(arguments: wellFormed.indices) func cutAnywhereIsTruncated(_ index: Int) {
        let bytes = Self.wellFormed[index].1
        for count in 0..<bytes.count { #expect(error(Array(bytes[..<count])) == .truncated, "\(count) bytes") }
    }

    @Test(arguments: wellFormed.indices) func whatFollowsThePacketIsIgnored(_ index: Int) throws {
        let bytes = Self.wellFormed[index].1
        let padded = try TCPPacket(parsing: (bytes + [0, 0, 0, 0, 0, 0]).span)
        #expect(padded.payload.upperBound == bytes.count)
    }

    /// The IP length cuts the TCP header where the bytes go on.
    @Test(arguments: wellFormed.indices) func anIPLengthTooShort(_ index: Int) {
        let (_, bytes, tcpOffset) = Self.wellFormed[index]
        let isIPv6 = bytes[0] == 0x60
        for end in (isIPv6 ? 40 : 0)..<tcpOffset + 32 {
            var changed = bytes
            let length = isIPv6 ? end - 40 : end
            changed[isIPv6 ? 4 : 2] = UInt8(length >> 8)
            changed[isIPv6 ? 5 : 3] = UInt8(length & 0xff)
            let expected: [PacketError] = [.truncated, .badIPHeader, .badTCPHeader]
            #expect(error(changed).map(expected.contains) == true, "length \(length)")
        }
    }

    @Test func flagsAndLengths() throws {
        for flags in UInt8.min...UInt8.max {
            var bytes = Self.ipv4()
            bytes[33] = flags
            let packet = try TCPPacket(parsing: bytes.span)
            #expect(packet.flags.rawValue == flags)
            #expect(packet.sequenceLength == 3 + Int(flags & 1) + Int(flags >> 1 & 1))
        }
    }

    private static let refused: [(String, [UInt8], PacketError)] = [
        ("nothing", [], .truncated), ("version 5", changed(ipv4(), 0, 0x55), .unknownIPVersion),
        ("version 0", [UInt8](repeating: 0, count: 100), .unknownIPVersion),
        ("IPv4 header of 0", changed(ipv4(), 0, 0x40), .badIPHeader),
        ("IPv4 header of 16", changed(ipv4(), 0, 0x44), .badIPHeader),
        ("IPv4 header beyond its packet", changed(ipv4(hex("00")), 0, 0x4f), .badIPHeader),
        ("UDP", changed(ipv4(), 9, 17), .notTCP), ("more fragments", changed(ipv4(), 6, 0x20), .fragment),
        ("a later fragment", changed(ipv4(), 7, 1), .fragment),
        ("TCP header of 0", changed(ipv4(), 32, 0), .badTCPHeader),
        ("TCP header of 16", changed(ipv4(), 32, 0x40), .badTCPHeader),
        ("TCP header beyond the packet", changed(ipv4(), 32, 0xf0), .badTCPHeader),
        ("IPv6 UDP", changed(ipv6(), 6, 17), .notTCP), ("no next header", changed(ipv6(), 6, 59), .notTCP),
        ("encapsulated security", changed(ipv6(), 6, 50), .notTCP),
        ("IPv6 fragment", ipv6(extensions: [(44, block(1))]), .fragment),
        ("fragment behind options", ipv6(extensions: [(0, block(1)), (44, block(1))]), .fragment),
        ("an extension longer than the packet", ipv6(extensions: [(0, changed(block(1), 1, 255))]), .badIPHeader),
        (
            "an endless chain", ipv6([UInt8](repeating: 0, count: 4000), extensions: [(0, block(1))]).changingNext,
            .truncated
        ),
    ]

    private static func changed(_ bytes: [UInt8], _ index: Int, _ value: UInt8) -> [UInt8] {
        var copy = bytes
        copy[index] = value
        return copy
    }

    @Test(arguments: refused.indices) func refusedWithItsReason(_ index: Int) {
        let (name, bytes, expected) = Self.refused[index]
        #expect(error(bytes) == expected, "\(name)")
    }

    /// Whatever the bytes: ranges within them, or an error; never a trap.
    @Test func damagedPacketsStayWithinTheirBytes() {
        Property.holds(seeds: 0..<5000) { random in
            var bytes = random.pick(Self.wellFormed.filter { $0.1.count < 200 }).1
            for _ in 0..<random.int(1...6) { bytes[random.int(0...bytes.count - 1)] = UInt8(random.int(0...255)) }
            bytes.removeLast(random.chance(0.3) ? random.int(0...bytes.count) : 0)
            guard let packet = try? TCPPacket(parsing: bytes.span) else { return nil }
            guard packet.payload.upperBound <= bytes.count, packet.options.upperBound == packet.payload.lowerBound,
                packet.options.lowerBound == packet.tcpOffset + 20, packet.options.count <= 40
            else { return "\(bytes)" }
            _ = packet.hasValidChecksum(in: bytes.span)
            _ = TCPOptions(packet, of: bytes.span)
            return nil
        }
    }
}

extension [UInt8] {
    /// The first extension header names itself as the next: zeros all the way.
    fileprivate var changingNext: [UInt8] {
        var copy = self
        copy[40] = 0
        return copy
    }
}
