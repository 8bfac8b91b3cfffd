/// An address with the length of its network's prefix, `10.71.1.1/24` or `fd71:1::1/64`.
public struct Address: Hashable, Sendable {
    /// In network byte order: 4 bytes of IPv4, 16 of IPv6.
    public let bytes: [UInt8]
    public let length: Int
    /// Without the length, as it was written.
    public let host: String

    public var version: Int { bytes.count == 4 ? 4 : 6 }
    /// As ip(8) takes it.
    public var text: String { "\(host)/\(length)" }
    /// As it stands in a URL.
    public var bracketed: String { version == 4 ? host : "[\(host)]" }

    /// Nil where it is neither. Without a length it is a host's own: 32 or 128.
    public init?(_ text: some StringProtocol) {
        let parts = text.split(separator: "/", omittingEmptySubsequences: false)
        guard let host = parts.first, parts.count <= 2, let bytes = Address.version4(host) ?? Address.version6(host)
        else {
            return nil
        }
        let bits = bytes.count * 8
        guard let length = parts.count == 2 ? Int(parts[1]) : bits, (0...bits).contains(length) else { return nil }
        (self.bytes, self.length, self.host) = (bytes, length, String(host))
    }

    /// The bytes of its network, and zeros.
    private var masked: [UInt8] {
        bytes.indices.map { index in
            let kept = min(8, max(0, length - index * 8))
            return bytes[index] & UInt8(truncatingIfNeeded: 0xFF00 >> kept)
        }
    }

    /// `10.71.1.0/24`.
    public var network: String { "\(Address.text(of: masked))/\(length)" }

    public func isNeighbour(of other: Address) -> Bool {
        bytes.count == other.bytes.count && length == other.length && masked == other.masked
    }

    private static func version4(_ text: some StringProtocol) -> [UInt8]? {
        let parts = text.split(separator: ".", omittingEmptySubsequences: false)
        let bytes = parts.compactMap { part in part.allSatisfy(\.isNumber) ? UInt8(part) : nil }
        return parts.count == 4 && bytes.count == 4 ? bytes : nil
    }

    private static func version6(_ text: some StringProtocol) -> [UInt8]? {
        func groups(_ part: some StringProtocol) -> [UInt16]? {
            guard !part.isEmpty else { return [] }
            let texts = part.split(separator: ":", omittingEmptySubsequences: false)
            let groups = texts.compactMap { $0.count <= 4 && $0.allSatisfy(\.isHexDigit) ? UInt16($0, radix: 16) : nil }
            return groups.count == texts.count ? groups : nil
        }
        var all: [UInt16]
        if let gap = text.ranges(of: "::").first {
            guard let head = groups(text[..<gap.lowerBound]), let tail = groups(text[gap.upperBound...]),
                head.count + tail.count < 8
            else { return nil }
            all = head + Array(repeating: 0, count: 8 - head.count - tail.count) + tail
        } else {
            guard let groups = groups(text), groups.count == 8 else { return nil }
            all = groups
        }
        return all.flatMap { [UInt8($0 >> 8), UInt8(truncatingIfNeeded: $0)] }
    }

    private static func text(of bytes: [UInt8]) -> String {
        if bytes.count == 4 { return bytes.map(String.init).joined(separator: ".") }
        let groups = stride(from: 0, to: 16, by: 2).map { UInt16(bytes[$0]) << 8 | UInt16(bytes[$0 + 1]) }
        // The zeros at the end are what a network has.
        guard let last = groups.lastIndex(where: { $0 != 0 }) else { return "::" }
        let head = groups[...last].map { String($0, radix: 16) }.joined(separator: ":")
        return last >= 6 ? groups.map { String($0, radix: 16) }.joined(separator: ":") : head + "::"
    }
}
