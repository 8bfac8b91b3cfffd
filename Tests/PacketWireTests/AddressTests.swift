import Glibc
import PacketWire
import TestSupport
import Testing

/// Addresses and their text, with the C library's inet_pton and inet_ntop as the second opinion.
@Suite struct AddressTests {
    @Test(
        "canonical text is read and written alike (RFC 5952)",
        arguments: [
            "0.0.0.0", "255.255.255.255", "10.0.1.2", "1.20.100.200", "::", "::1", "1::", "2001:db8::1",
            "2001:db8:0:1:1:1:1:1", "2001:db8::1:0:0:1", "2001:0:0:1::1", "fe80::a:b", "1:2:3:4:5:6:7:8",
            "0:1:2:3:4:5:6:7", "1:2:3:4:5:6:7:0", "::ffff:192.0.2.1", "ff02::1:ff00:1", "64:ff9b::c000:201",
        ])
    func canonical(text: String) throws {
        let address = try #require(IPAddress(text))
        #expect(address.description == text)
        #expect(address.isIPv6 == text.contains(":"))
        #expect(address.bytes == CLibrary.parse(text))
    }

    @Test(
        "other spellings are read",
        arguments: [
            ("2001:DB8::1", "2001:db8::1"), ("0:0:0:0:0:0:0:0", "::"), ("2001:0db8:0:0:0:0:0:0001", "2001:db8::1"),
            ("1:2:3:4:5:6:7::", "1:2:3:4:5:6:7:0"), ("::2:3:4:5:6:7:8", "0:2:3:4:5:6:7:8"),
            ("1:2:3:4:5:6:1.2.3.4", "1:2:3:4:5:6:102:304"), ("::1.2.3.4", "::102:304"),
            ("::FFFF:c000:201", "::ffff:192.0.2.1"), ("0:0:1::", "0:0:1::"),
        ])
    func spelling(text: String, canonical: String) {
        #expect(IPAddress(text)?.description == canonical)
        #expect(IPAddress(text)?.bytes == CLibrary.parse(text))
    }

    @Test(
        "what is no address is refused",
        arguments: [
            "", " ", ".", "...", "1.2.3", "1.2.3.4.5", "1.2.3.", ".1.2.3", "1..2.3", "256.1.1.1", "1.2.3.4 ",
            " 1.2.3.4",
            "+1.2.3.4", "-1.2.3.4", "1.2.3.+4", "01.2.3.4", "1.2.3.04", "00.0.0.0", "0001.2.3.4", "0x1.2.3.4",
            "1.2.3.a",
            "١.2.3.4", ":", ":::", "1:", ":1", "1:2:3:4:5:6:7", "1:2:3:4:5:6:7:8:9", "1::2::3", "::1::", ":1::2",
            "1::2:",
            "1:::2", "12345::", "g::", "::g", "+1::", "::+1", "::-1", "1.2.3.4::", "1.2.3.4::1", "::1.2.3.4:1",
            "1:2:3:4:5:6:7:1.2.3.4", "::1.2.3", "::256.1.1.1", "::01.2.3.4", "1:2:3:4:5:6:7:8::", "::1:2:3:4:5:6:7:8",
            "1:2:3:4::5:6:7:8", "fe80::1%eth0", "[::1]", "::1/64", "::\u{301}1", "１::",
            "0000:0000:0000:0000:0000:0000:0000:0000:", String(repeating: ":", count: 4000),
        ])
    func refused(text: String) {
        #expect(IPAddress(text) == nil)
        #expect(CLibrary.parse(text) == nil, "and so does the C library")
    }

    @Test func textOfAnyAddressIsTheCLibrarys() {
        Property.holds { random in
            let address = random.address()
            let text = address.description
            guard IPAddress(text) == address else { return "\(text) is not read back" }
            // What inet_ntop writes for a "compatible" address is deprecated (RFC 4291 section 2.5.5.1).
            if address.isIPv6, address.high == 0, address.low >> 32 == 0 { return nil }
            let expected = CLibrary.text(address.bytes)
            return text == expected ? nil : "\(text), the C library says \(expected ?? "nothing")"
        }
    }

    @Test func damagedTextIsJudgedAsTheCLibraryDoes() {
        Property.holds(seeds: 0..<20_000) { random in
            var text = Array(random.address().description.utf8)
            for _ in 0..<random.int(1...3) {
                let byte = random.pick(Array(":.0123456789abfFg+-% ".utf8))
                switch random.int(0...2) {
                case 0: text.insert(byte, at: random.int(0...text.count))
                case 1 where !text.isEmpty: text.remove(at: random.int(0...text.count - 1))
                default: if !text.isEmpty { text[random.int(0...text.count - 1)] = byte }
                }
            }
            let string = String(decoding: text, as: UTF8.self)
            return IPAddress(string)?.bytes == CLibrary.parse(string) ? nil : "\"\(string)\""
        }
    }

    @Test func endpointsBracketIPv6() {
        #expect(Endpoint(address: IPAddress(ipv4: 0x7f00_0001), port: 80).description == "127.0.0.1:80")
        #expect(Endpoint(address: IPAddress(ipv6High: 0, low: 1), port: 65_535).description == "[::1]:65535")
    }

    @Test func familiesDiffer() {
        #expect(IPAddress(ipv4: 1) != IPAddress(ipv6High: 0, low: 1))
        #expect(IPAddress(ipv4: 1).bytes == [0, 0, 0, 1])
        #expect(IPAddress(ipv6High: 1, low: 2).bytes == hex("0000000000000001 0000000000000002"))
    }
}

extension SeededRandom {
    /// An address of either family, with runs of zeros at all places.
    mutating func address() -> IPAddress {
        if chance(0.3) { return IPAddress(ipv4: UInt32(truncatingIfNeeded: next())) }
        if chance(0.05) { return IPAddress(ipv6High: 0, low: 0xffff_0000_0000 | next() >> 32) }
        let halves = (0..<2).map { _ in
            (0..<4).reduce(UInt64(0)) { value, _ in
                value << 16 | (chance(0.5) ? 0 : next() >> UInt64(48 + int(0...15)))
            }
        }
        return IPAddress(ipv6High: halves[0], low: halves[1])
    }
}

private enum CLibrary {
    /// The wire form, or nil where inet_pton refuses; only the family that the text can be is tried.
    static func parse(_ text: String) -> [UInt8]? {
        let isIPv6 = text.contains(":")
        var bytes = [UInt8](repeating: 0, count: isIPv6 ? 16 : 4)
        return unsafe inet_pton(isIPv6 ? AF_INET6 : AF_INET, text, &bytes) == 1 ? bytes : nil
    }

    static func text(_ bytes: [UInt8]) -> String? {
        var text = [CChar](repeating: 0, count: 64)
        guard unsafe inet_ntop(bytes.count == 16 ? AF_INET6 : AF_INET, bytes, &text, 64) != nil else { return nil }
        return String(decoding: text.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }, as: UTF8.self)
    }
}

@Suite struct PrefixTests {
    @Test(
        "text is read and written alike",
        arguments: [
            ("10.0.0.0/8", "10.0.0.0/8"), ("10.1.2.3/8", "10.0.0.0/8"), ("10.1.2.3", "10.1.2.3"),
            ("10.1.2.3/32", "10.1.2.3"), ("255.255.255.255/0", "0.0.0.0/0"), ("fd00:1::5/16", "fd00::/16"),
            ("2001:db8::ffff/127", "2001:db8::fffe/127"), ("2001:db8:1:2:3::/65", "2001:db8:1:2::/65"),
            ("2001:db8:1:2:3::/64", "2001:db8:1:2::/64"), ("::1", "::1"), ("::1/128", "::1"), ("ffff::/0", "::/0"),
            ("10.0.0.0/08", "10.0.0.0/8"),
        ])
    func text(_ text: String, _ canonical: String) throws {
        let prefix = try #require(IPPrefix(text))
        #expect(prefix.description == canonical)
        #expect(IPPrefix(canonical) == prefix)
    }

    @Test(
        "what is no prefix is refused",
        arguments: [
            "", "/", "/8", "10.0.0.0/", "10.0.0.0/33", "10.0.0.0/-1", "10.0.0.0/+8", "10.0.0.0/8/8", "10.0.0/8",
            "10.0.0.0/ 8", "10.0.0.0/8 ", "10.0.0.0/0008", "::/129", "::/٣", "10.0.0.0/99999999999999999999", "x/8",
        ])
    func refused(_ text: String) { #expect(IPPrefix(text) == nil) }

    /// Bit by bit.
    @Test func containsWhatBeginsAlike() {
        Property.holds { random in
            let (address, other) = (random.address(), random.address())
            let bits = { (address: IPAddress) in
                address.bytes.flatMap { byte in (0..<8).map { byte >> (7 - $0) & 1 } }
            }
            let length = Int(random.next() % UInt64(address.bytes.count * 8 + 1))
            guard let prefix = IPPrefix(address, length: length) else { return "no prefix of \(length)" }
            guard prefix.contains(address), prefix.contains(prefix.address) else { return "\(prefix) lacks its own" }
            // Another one that begins alike for some bits.
            var bytes = address.bytes
            let place = Int(random.next() % UInt64(bytes.count * 8))
            bytes[place / 8] ^= 0x80 >> UInt8(place % 8)
            let near = CLibrary.text(bytes).flatMap { IPAddress($0) }
            for candidate in [other, near].compactMap({ $0 }) {
                let isInside =
                    candidate.isIPv6 == address.isIPv6
                    && bits(candidate).prefix(length) == bits(address).prefix(length)
                if prefix.contains(candidate) != isInside { return "\(prefix) and \(candidate)" }
            }
            return nil
        }
    }
}
