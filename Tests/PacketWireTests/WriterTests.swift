import PacketWire
import TestSupport
import Testing

/// Packets written anew, read again and judged by their checksums.
@Suite struct WriterTests {
    private let four = (
        Endpoint(address: IPAddress(ipv4: 0x0a00_0001), port: 1000),
        Endpoint(address: IPAddress(ipv4: 0x0a00_0002), port: 80)
    )

    private func write(
        _ template: [UInt8], _ header: TCPHeader, _ options: TCPOptions, _ payload: [UInt8],
        _ mode: ChecksumMode = .full
    ) throws -> [UInt8] {
        let packet = try TCPPacket(parsing: template.span)
        let length = packet.length(options: options, payloadCount: payload.count)
        var bytes = [UInt8](repeating: 0xee, count: length - payload.count) + payload
        var span = bytes.mutableSpan
        packet.write(header, options: options, template: template.span, checksum: mode, into: &span)
        return bytes
    }

    /// Byte for byte, its checksums reckoned by hand from RFC 791 and RFC 9293.
    @Test func aGoldenSYN() throws {
        let template = HeaderTemplate.bytes(from: four.0, to: four.1)
        let header = TCPHeader(
            sequence: SequenceNumber(0x0102_0304), acknowledgment: SequenceNumber(0), flags: [.syn], window: 0xfaf0)
        let options = TCPOptions(parsing: hex("02 04 05b4 45 03 23").span)
        let bytes = try write(template, header, options, [])
        let expected =
            hex("4500 0030 0000 4000 40 06 26c6 0a000001 0a000002")
            + hex("03e8 0050 01020304 00000000 7002 faf0 08ed 0000 02 04 05b4 45 03 23 01")
        #expect(bytes == expected)
    }

    @Test func whatIsWrittenIsReadBack() {
        Property.holds(seeds: 0..<2000) { random in
            let template = random.template()
            let header = random.header()
            let options = random.options()
            let payload = random.bytes(random.logarithmic(0...3000))
            guard let bytes = try? write(template, header, options, payload),
                let packet = try? TCPPacket(parsing: bytes.span), let old = try? TCPPacket(parsing: template.span)
            else { return "not parsed" }
            let again = TCPHeader(packet)
            guard packet.source == old.source, packet.destination == old.destination,
                again.sequence == header.sequence, again.acknowledgment == header.acknowledgment,
                again.flags == header.flags, again.window == header.window, again.urgentPointer == header.urgentPointer
            else { return "fields differ" }
            guard Array(bytes[packet.payload]) == payload, packet.payload.upperBound == bytes.count else {
                return "data"
            }
            guard TCPOptions(packet, of: bytes.span).span.array == options.span.array else { return "options" }
            guard PacketBuilder.hasValidChecksums(bytes, packet), packet.hasValidChecksum(in: bytes.span) else {
                return "sums"
            }
            // What belongs to IP stays, but for the length and the checksum.
            let kept = Array(packet.isIPv6 ? [0..<4, 6..<old.tcpOffset] : [0..<2, 4..<10, 12..<old.tcpOffset]).joined()
            guard kept.allSatisfy({ bytes[$0] == template[$0] }) else { return "the IP header changed" }
            let reserved = bytes[packet.tcpOffset + 12] & 0xf == template[old.tcpOffset + 12] & 0xf
            return reserved ? nil : "reserved bits changed"
        }
    }

    @Test func everyChangedBitIsSeenByTheChecksum() throws {
        var random = SeededRandom(seed: 3)
        for count in [0, 1, 2, 33] {
            let bytes = try write(random.template(), random.header(), random.options(), random.bytes(count))
            let packet = try TCPPacket(parsing: bytes.span)
            for index in packet.tcpOffset..<bytes.count where index != packet.tcpOffset + 12 {
                var changed = bytes
                changed[index] ^= 1 << UInt8(random.int(0...7))
                let isValid = packet.hasValidChecksum(in: changed.span)
                #expect(!isValid, "seed 3, \(count) bytes of data, byte \(index)")
            }
        }
    }

    /// What the kernel's segmentation completes: the sum over the pseudo-header alone, not complemented.
    @Test func anUnfinishedChecksumIsFinishedByAddingTheSegment() {
        Property.holds { random in
            let template = random.template()
            let payload = random.bytes(random.int(0...100))
            guard let bytes = try? write(template, random.header(), random.options(), payload, .leftToKernel),
                let packet = try? TCPPacket(parsing: bytes.span)
            else { return "not parsed" }
            var sum = Checksum()
            sum.add(bytes.span.extracting(packet.tcpOffset..<bytes.count))
            var finished = bytes
            var span = finished.mutableSpan
            span.store(sum.value, at: packet.tcpOffset + 16)
            return packet.hasValidChecksum(in: finished.span) ? nil : "\(bytes)"
        }
    }

    @Test func theLargestPacketFits() throws {
        for template in [HeaderTemplate.bytes(from: four.0, to: four.1), SeededRandom.ipv6Template] {
            var random = SeededRandom(seed: 4)
            let packet = try TCPPacket(parsing: template.span)
            let options = random.options()
            let room = 65_535 - packet.length(options: options, payloadCount: 0)
            let bytes = try write(template, random.header(), options, [UInt8](repeating: 7, count: room))
            let again = try TCPPacket(parsing: bytes.span)
            #expect(again.payload.count == room)
            #expect(PacketBuilder.hasValidChecksums(bytes, again))
        }
    }

    @Test func templatesAreWholePackets() throws {
        let bytes = HeaderTemplate.bytes(from: four.0, to: four.1, hopLimit: 3, trafficClass: 0xb8)
        let packet = try TCPPacket(parsing: bytes.span)
        #expect(packet.source == four.0 && packet.destination == four.1 && packet.payload.isEmpty)
        #expect(bytes[1] == 0xb8 && bytes[8] == 3)
        let ends = (
            Endpoint(address: IPAddress(ipv6High: 1, low: 2), port: 3),
            Endpoint(address: IPAddress(ipv6High: 4, low: 5), port: 6)
        )
        let six = HeaderTemplate.bytes(from: ends.0, to: ends.1, hopLimit: 3, trafficClass: 0xb8)
        let parsed = try TCPPacket(parsing: six.span)
        #expect(parsed.source == ends.0 && parsed.destination == ends.1 && parsed.payload.isEmpty)
        #expect(six[0] == 0x6b && six[1] == 0x80 && six[7] == 3)
    }
}

extension SeededRandom {
    static let ipv6Template = HeaderTemplate.bytes(
        from: Endpoint(address: IPAddress(ipv6High: 0xfd00 << 48, low: 1), port: 1),
        to: Endpoint(address: IPAddress(ipv6High: 0xfd00 << 48, low: 2), port: 2))

    /// Headers of either family, some with IP options or extension headers and with reserved TCP bits set.
    fileprivate mutating func template() -> [UInt8] {
        let isIPv6 = chance(0.5)
        let address = { (value: UInt64) in
            isIPv6 ? IPAddress(ipv6High: value, low: ~value) : IPAddress(ipv4: UInt32(value >> 32))
        }
        var bytes = HeaderTemplate.bytes(
            from: Endpoint(address: address(next()), port: UInt16(int(0...65_535))),
            to: Endpoint(address: address(next()), port: UInt16(int(0...65_535))), hopLimit: UInt8(int(0...255)),
            trafficClass: UInt8(int(0...255)))
        bytes[(isIPv6 ? 40 : 20) + 12] |= UInt8(int(0...15))
        guard chance(0.4) else { return bytes }
        let units = int(1...4)
        if isIPv6 {
            bytes[5] += UInt8(8 * units)
            bytes[6] = 60
            bytes.insert(contentsOf: [6, UInt8(units - 1)] + self.bytes(8 * units - 2), at: 40)
        } else {
            bytes[0] += UInt8(units)
            bytes[3] += UInt8(4 * units)
            bytes.insert(contentsOf: self.bytes(4 * units), at: 20)
        }
        return bytes
    }

    fileprivate mutating func header() -> TCPHeader {
        TCPHeader(
            sequence: SequenceNumber(UInt32(next() >> 32)), acknowledgment: SequenceNumber(UInt32(next() >> 32)),
            flags: TCPFlags(rawValue: UInt8(int(0...255))), window: UInt16(int(0...65_535)),
            urgentPointer: UInt16(int(0...65_535)))
    }

    fileprivate mutating func options() -> TCPOptions {
        var options = TCPOptions()
        for _ in 0..<int(0...4) {
            let count = int(2...14)
            options.append([UInt8(int(2...255)), UInt8(count)] + bytes(count - 2))
        }
        return options
    }
}
