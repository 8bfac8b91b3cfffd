import PacketWire
import TestSupport
import Testing

@Suite struct ICMPErrorTests {
    struct Case: Sendable, CustomTestStringConvertible {
        var name: String
        var type: UInt8
        var code: UInt8
        var isIPv6 = false
        var rest: UInt32 = 0
        var mtu: Int?
        var isError = true

        var testDescription: String { name }
    }

    static let cases = [
        Case(name: "fragmentation needed", type: 3, code: 4, rest: 1280, mtu: 1280),
        // RFC 4884: the upper half is no part of the MTU.
        Case(name: "fragmentation needed, with a length", type: 3, code: 4, rest: 0x0020_0500, mtu: 1280),
        Case(name: "fragmentation needed, MTU not told", type: 3, code: 4, mtu: 0),
        Case(name: "host unreachable", type: 3, code: 1, rest: 1280),
        Case(name: "prohibited", type: 3, code: 13),
        Case(name: "time exceeded", type: 11, code: 0),
        Case(name: "parameter problem", type: 12, code: 0),
        Case(name: "source quench", type: 4, code: 0, isError: false),
        Case(name: "redirect", type: 5, code: 0, isError: false),
        Case(name: "echo", type: 8, code: 0, isError: false),
        Case(name: "IPv6: packet too big", type: 2, code: 0, isIPv6: true, rest: 1280, mtu: 1280),
        Case(
            name: "IPv6: packet too big, out of measure", type: 2, code: 9, isIPv6: true, rest: .max, mtu: 0xffff_ffff),
        Case(name: "IPv6: unreachable", type: 1, code: 4, isIPv6: true, rest: 1280),
        Case(name: "IPv6: time exceeded", type: 3, code: 4, isIPv6: true, rest: 1280),
        Case(name: "IPv6: parameter problem", type: 4, code: 1, isIPv6: true),
        Case(name: "IPv6: echo", type: 128, code: 0, isIPv6: true, isError: false),
        Case(name: "IPv6: neighbour solicitation", type: 135, code: 0, isIPv6: true, isError: false),
        Case(name: "IPv6: redirect", type: 137, code: 0, isIPv6: true, isError: false),
    ]

    @Test(arguments: cases) func kinds(_ item: Case) throws {
        let packet = Self.tcp(isIPv6: item.isIPv6)
        let bytes = ICMPBuilder.error(
            item.type, item.code, rest: item.rest, about: packet, from: Self.router(item.isIPv6))
        #expect(Self.isICMP(bytes))
        guard item.isError else {
            #expect(Self.parse(bytes) == nil)
            return
        }
        let error = try #require(Self.parse(bytes))
        #expect(error.source == Self.end(1, item.isIPv6) && error.destination == Self.end(2, item.isIPv6))
        #expect(error.sequence == SequenceNumber(0x0102_0304))
        #expect(error.mtu == item.mtu)
        #expect(error.length == bytes.count && Self.isValid(error, bytes))
        // Written anew it says the new numbers, and nothing else.
        var written = [UInt8](repeating: 0, count: error.length)
        var target = written.mutableSpan
        error.write(sequence: SequenceNumber(77), mtu: 1260, template: bytes.span, into: &target)
        let again = try #require(Self.parse(written))
        #expect(again.sequence == SequenceNumber(77) && again.mtu == item.mtu.map { _ in 1260 })
        #expect(Self.isValid(again, written))
        let changed = bytes.indices.filter { bytes[$0] != written[$0] }
        #expect(changed.count <= 2 + 4 + (item.mtu == nil ? 0 : 4))
    }

    /// Eight bytes of TCP are enough, and no byte is read that is not there.
    @Test(arguments: [false, true]) func everyLength(_ isIPv6: Bool) {
        let packet = Self.tcp(isIPv6: isIPv6)
        let header = isIPv6 ? 40 : 20
        for quoted in 0...packet.count {
            let bytes = ICMPBuilder.tooBig(Array(packet.prefix(quoted)) + [], mtu: 1280, from: Self.router(isIPv6))
            // The builder needs the addresses.
            guard !bytes.isEmpty else { continue }
            #expect((Self.parse(bytes) != nil) == (quoted >= header + 8))
            for cut in 0..<bytes.count { #expect(Self.parse(Array(bytes.prefix(cut))) == nil) }
            // What follows the packet does not count.
            let longer = bytes + [UInt8](repeating: 0x55, count: 60)
            #expect((Self.parse(longer) != nil) == (quoted >= header + 8))
        }
    }

    @Test func ipv4OptionsInTheQuote() throws {
        var packet = Self.tcp(isIPv6: false)
        packet[0] = 0x47
        packet.insert(contentsOf: [7, 7, 4, 0, 0, 0, 0, 0], at: 20)
        let bytes = ICMPBuilder.tooBig(packet, mtu: 1280, from: Self.router(false))
        #expect(Self.parse(bytes)?.sequence == SequenceNumber(0x0102_0304))
    }

    struct Extension: Sendable {
        var kind: UInt8
        var bytes: [UInt8]
        var isTCP = true
    }

    /// The `next header` of each is filled in by the test.
    @Test(arguments: [
        [Extension(kind: 60, bytes: [0, 0, 1, 4, 0, 0, 0, 0])],
        [Extension(kind: 0, bytes: [0, 1] + [UInt8](repeating: 0, count: 14))],
        [
            Extension(kind: 0, bytes: [0, 0, 1, 4, 0, 0, 0, 0]), Extension(kind: 43, bytes: [0, 0, 0, 0, 0, 0, 0, 0]),
            Extension(kind: 44, bytes: [0, 0, 0, 1, 0, 0, 0, 9]),
        ],
        // Not the first fragment; one that claims to be longer than the quote; no TCP behind it.
        [Extension(kind: 44, bytes: [0, 0, 0, 0x10, 0, 0, 0, 9], isTCP: false)],
        [Extension(kind: 60, bytes: [0, 200, 1, 4, 0, 0, 0, 0], isTCP: false)],
        [Extension(kind: 51, bytes: [0, 0, 0, 0, 0, 0, 0, 0], isTCP: false)],
    ]) func extensionHeaders(_ headers: [Extension]) {
        var packet = Self.tcp(isIPv6: true)
        var chain: [UInt8] = []
        for (index, header) in headers.enumerated() {
            chain += [index + 1 < headers.count ? headers[index + 1].kind : 6] + header.bytes.dropFirst()
        }
        packet[6] = headers[0].kind
        packet.insert(contentsOf: chain, at: 40)
        let bytes = ICMPBuilder.tooBig(packet, mtu: 1280, from: Self.router(true))
        #expect(
            (Self.parse(bytes)?.sequence == SequenceNumber(0x0102_0304)) == headers.allSatisfy(\.isTCP))
    }

    @Test func otherQuotes() {
        var udp = Self.tcp(isIPv6: false)
        udp[9] = 17
        #expect(Self.parse(ICMPBuilder.tooBig(udp, mtu: 1280, from: Self.router(false))) == nil)
        var fragment = Self.tcp(isIPv6: false)
        fragment[7] = 1
        #expect(Self.parse(ICMPBuilder.tooBig(fragment, mtu: 1280, from: Self.router(false))) == nil)
        // The other family.
        let message: [UInt8] = [3, 4, 0, 0, 0, 0, 5, 0] + Self.tcp(isIPv6: true)
        let mixed = ICMPBuilder.wrap(message, from: Self.router(false), to: Self.end(1, false).address)
        #expect(Self.parse(mixed) == nil)
        #expect(!Self.isICMP(Self.tcp(isIPv6: false)) && !Self.isICMP(udp))
    }

    @Test(arguments: [false, true]) func everyByteCounts(_ isIPv6: Bool) throws {
        let bytes = ICMPBuilder.tooBig(Self.tcp(isIPv6: isIPv6), mtu: 1280, from: Self.router(isIPv6))
        for index in (isIPv6 ? 40 : 20)..<bytes.count {
            var damaged = bytes
            damaged[index] ^= 0x10
            if let error = Self.parse(damaged) { #expect(!Self.isValid(error, damaged)) }
        }
    }

    // MARK: Packets

    // A span cannot be part of an expectation.
    static func parse(_ bytes: [UInt8]) -> ICMPError? { ICMPError(parsing: bytes.span) }
    static func isValid(_ error: ICMPError, _ bytes: [UInt8]) -> Bool { error.hasValidChecksum(in: bytes.span) }
    static func isICMP(_ bytes: [UInt8]) -> Bool { bytes.span.isICMP }

    static func end(_ number: UInt8, _ isIPv6: Bool) -> Endpoint {
        let address =
            isIPv6
            ? IPAddress(ipv6High: 0xfd00 << 48, low: UInt64(number)) : IPAddress(ipv4: 0x0a00_0000 | UInt32(number))
        return Endpoint(address: address, port: 1000 + UInt16(number))
    }

    static func router(_ isIPv6: Bool) -> IPAddress { end(254, isIPv6).address }

    static func tcp(isIPv6: Bool) -> [UInt8] {
        PacketBuilder.packet(
            from: end(1, isIPv6), to: end(2, isIPv6),
            TCPHeader(
                sequence: SequenceNumber(0x0102_0304), acknowledgment: SequenceNumber(9), flags: [.ack], window: 100),
            payload: [UInt8](repeating: 0xab, count: 30))
    }
}
