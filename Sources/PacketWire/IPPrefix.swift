/// Addresses that begin alike, such as `192.0.2.0/24`, `2001:db8::/32` or a single one. Those of one family are never in one of the other.
public struct IPPrefix: Hashable, Sendable, CustomStringConvertible {
    /// Zero behind the prefix.
    public let address: IPAddress
    /// In bits: 0 to 32, or to 128.
    public let length: Int

    /// Nil where `length` is out of its range, or a bit behind it is set.
    public init?(_ address: IPAddress, length: Int) {
        guard (0...(address.isIPv6 ? 128 : 32)).contains(length) else { return nil }
        self.address = address
        self.length = length
        let mask = self.mask
        guard address.high & ~mask.high == 0, address.low & ~mask.low == 0 else { return nil }
    }

    /// Parses an address as ``IPAddress`` does, with a slash and a length in decimal or, for that address alone, without.
    public init?(_ text: some StringProtocol) {
        let parts = text.split(separator: "/", maxSplits: 1, omittingEmptySubsequences: false)
        guard let address = IPAddress(parts[0]) else { return nil }
        guard parts.count == 2 else {
            self.init(address, length: address.isIPv6 ? 128 : 32)
            return
        }
        let digits = parts[1]
        let isDecimal = (1...3).contains(digits.utf8.count) && digits.utf8.allSatisfy { (0x30...0x39).contains($0) }
        guard isDecimal, digits == "0" || digits.utf8.first != 0x30, let length = Int(digits) else { return nil }
        self.init(address, length: length)
    }

    public var isIPv6: Bool { address.isIPv6 }

    public func contains(_ other: IPAddress) -> Bool {
        let mask = self.mask
        return other.isIPv6 == isIPv6 && other.high & mask.high == address.high && other.low & mask.low == address.low
    }

    public var description: String { "\(address)/\(length)" }

    private var mask: (high: UInt64, low: UInt64) {
        guard isIPv6 else { return (0, Self.leading(length + 32) & 0xffff_ffff) }
        return (Self.leading(length), Self.leading(length - 64))
    }

    /// The first `count` of 64 bits set; none below 0, all above 64. A shift by 64 or more leaves nothing.
    private static func leading(_ count: Int) -> UInt64 { ~(UInt64.max >> UInt64(max(0, count))) }
}
