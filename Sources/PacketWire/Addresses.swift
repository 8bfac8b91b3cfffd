/// An IPv4 or IPv6 address as two 64-bit halves in host order; IPv4 lives in the low 32 bits.
public struct IPAddress: Hashable, Sendable {
    public let high: UInt64
    public let low: UInt64
    public let isIPv6: Bool

    public init(ipv4 value: UInt32) {
        high = 0
        low = UInt64(value)
        isIPv6 = false
    }

    public init(ipv6High high: UInt64, low: UInt64) {
        self.high = high
        self.low = low
        isIPv6 = true
    }

    /// The wire form: 4 or 16 bytes, network byte order.
    public var bytes: [UInt8] {
        if isIPv6 {
            return (0..<8).map { UInt8(truncatingIfNeeded: high >> (56 - 8 * UInt64($0))) }
                + (0..<8).map { UInt8(truncatingIfNeeded: low >> (56 - 8 * UInt64($0))) }
        }
        return (0..<4).map { UInt8(truncatingIfNeeded: low >> (24 - 8 * UInt64($0))) }
    }
}

extension IPAddress {
    /// Source and destination in an IP header; nil where `packet` is too short for one.
    public static func pair(in packet: Span<UInt8>) -> (source: IPAddress, destination: IPAddress)? {
        guard packet.count >= 20 else { return nil }
        switch packet[0] >> 4 {
        case 4: return (IPAddress(ipv4: packet.loadUInt32(at: 12)), IPAddress(ipv4: packet.loadUInt32(at: 16)))
        case 6 where packet.count >= 40:
            return (
                IPAddress(ipv6High: packet.loadUInt64(at: 8), low: packet.loadUInt64(at: 16)),
                IPAddress(ipv6High: packet.loadUInt64(at: 24), low: packet.loadUInt64(at: 32))
            )
        default: return nil
        }
    }
}

extension IPAddress: CustomStringConvertible {
    /// Dotted quad, or RFC 5952 text; an address mapped from IPv4 shows it (section 5).
    public var description: String {
        guard isIPv6 else { return bytes.map { String($0) }.joined(separator: ".") }
        if high == 0, low >> 32 == 0xffff { return "::ffff:\(IPAddress(ipv4: UInt32(truncatingIfNeeded: low)))" }
        let groups = (0..<8).map { UInt16(truncatingIfNeeded: ($0 < 4 ? high : low) >> (48 - 16 * UInt64($0 % 4))) }
        let hole = Self.longestZeroRun(groups)
        let text = { (range: Range<Int>) in groups[range].map { String($0, radix: 16) }.joined(separator: ":") }
        guard let hole else { return text(0..<8) }
        return text(0..<hole.lowerBound) + "::" + text(hole.upperBound..<8)
    }

    private static func longestZeroRun(_ groups: [UInt16]) -> Range<Int>? {
        var best = 0..<0
        var start = 0
        while start < 8 {
            var end = start
            while end < 8, groups[end] == 0 { end += 1 }
            if end - start > best.count { best = start..<end }
            start = max(end, start + 1)
        }
        return best.count > 1 ? best : nil
    }
}

extension IPAddress {
    /// Parses a dotted quad or RFC 4291 text without a zone; nil for anything else, numbers with a sign or, in a
    /// quad, with a leading zero included (some read those as octal).
    public init?(_ text: some StringProtocol) {
        if text.contains(":") {
            self.init(ipv6Text: Substring(text))
        } else {
            self.init(ipv4Text: Substring(text))
        }
    }

    private init?(ipv4Text text: Substring) {
        let parts = text.split(separator: ".", omittingEmptySubsequences: false)
        guard parts.count == 4 else { return nil }
        var value: UInt32 = 0
        for part in parts {
            guard part.utf8.first != 0x30 || part == "0", let byte = UInt8(digits: part, 1...3, radix: 10) else {
                return nil
            }
            value = value << 8 | UInt32(byte)
        }
        self.init(ipv4: value)
    }

    private init?(ipv6Text text: Substring) {
        let colons = text.utf8.count(where: { $0 == 0x3a })
        guard text.utf8.count <= 45, colons >= 2 else { return nil }
        let sides: [Substring]
        if let gap = text.firstRange(ofPair: ":") {
            sides = [text[..<gap.lowerBound], text[gap.upperBound...]]
        } else {
            sides = [text]
        }
        var groups: [[UInt16]] = []
        for (index, side) in sides.enumerated() {
            // Only the whole address may end in a quad, not what stands before the gap.
            guard let parsed = Self.groups(side, mayEndInQuad: index == sides.count - 1) else { return nil }
            groups.append(parsed)
        }
        let missing = 8 - groups.reduce(0) { $0 + $1.count }
        guard sides.count == 2 ? missing >= 1 : missing == 0 else { return nil }
        let all = groups[0] + [UInt16](repeating: 0, count: missing) + (groups.count == 2 ? groups[1] : [])
        let fold = { (part: ArraySlice<UInt16>) in part.reduce(UInt64(0)) { $0 << 16 | UInt64($1) } }
        self.init(ipv6High: fold(all[0..<4]), low: fold(all[4..<8]))
    }

    private static func groups(_ side: Substring, mayEndInQuad: Bool) -> [UInt16]? {
        if side.isEmpty { return [] }
        var result: [UInt16] = []
        for part in side.split(separator: ":", omittingEmptySubsequences: false) {
            if mayEndInQuad, part.contains("."), part.endIndex == side.endIndex, let quad = IPAddress(ipv4Text: part) {
                result += [UInt16(truncatingIfNeeded: quad.low >> 16), UInt16(truncatingIfNeeded: quad.low)]
            } else if let value = UInt16(digits: part, 1...4, radix: 16) {
                result.append(value)
            } else {
                return nil
            }
        }
        return result.count <= 8 ? result : nil
    }
}

extension FixedWidthInteger {
    /// Parses digits alone: the standard initialiser takes a sign as well.
    fileprivate init?(digits: Substring, _ count: ClosedRange<Int>, radix: Int) {
        guard count.contains(digits.utf8.count), digits.utf8.first.map({ $0 != 0x2b && $0 != 0x2d }) == true else {
            return nil
        }
        self.init(digits, radix: radix)
    }
}

extension Substring {
    /// The first place where `mark` stands twice in a row.
    fileprivate func firstRange(ofPair mark: Character) -> Range<Index>? {
        var previous: Index?
        for index in indices where self[index] == mark {
            if let previous, self.index(after: previous) == index { return previous..<self.index(after: index) }
            previous = index
        }
        return nil
    }
}

/// An address and a port.
public struct Endpoint: Hashable, Sendable, CustomStringConvertible {
    public let address: IPAddress
    public let port: UInt16

    public init(address: IPAddress, port: UInt16) {
        self.address = address
        self.port = port
    }

    public var description: String { address.isIPv6 ? "[\(address)]:\(port)" : "\(address):\(port)" }
}
