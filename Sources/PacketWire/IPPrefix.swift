/// A range of addresses that begin with the same bits, such as 192.0.2.0/24; a single address where it has all of them.
public struct IPPrefix: Hashable, Sendable {
    /// Its bits behind ``length`` are zero.
    public let address: IPAddress
    /// In bits, at most 32 or 128.
    public let length: Int

    /// - Parameters:
    ///   - address: bits of it behind `length` are ignored.
    ///   - length: nil where it is longer than the address, or negative.
    public init?(_ address: IPAddress, length: Int) {
        guard (0...Self.whole(address)).contains(length) else { return nil }
        self.address = Self.masked(address, length)
        self.length = length
    }

    /// Parses an address, alone or followed by a slash and a decimal length.
    public init?(_ text: some StringProtocol) {
        let parts = text.split(separator: "/", maxSplits: 1, omittingEmptySubsequences: false)
        guard let address = IPAddress(parts[0]) else { return nil }
        guard parts.count == 2 else {
            self.init(address, length: Self.whole(address))
            return
        }
        let digits = parts[1].utf8
        guard (1...3).contains(digits.count), digits.allSatisfy({ (0x30...0x39).contains($0) }),
            let length = Int(parts[1])
        else { return nil }
        self.init(address, length: length)
    }

    public var isIPv6: Bool { address.isIPv6 }

    public func contains(_ other: IPAddress) -> Bool {
        other.isIPv6 == address.isIPv6 && Self.masked(other, length) == address
    }

    private static func whole(_ address: IPAddress) -> Int { address.isIPv6 ? 128 : 32 }

    private static func masked(_ address: IPAddress, _ length: Int) -> IPAddress {
        guard address.isIPv6 else {
            return IPAddress(ipv4: UInt32(truncatingIfNeeded: address.low) & ~(UInt32.max >> UInt32(length)))
        }
        return IPAddress(
            ipv6High: address.high & ~(UInt64.max >> UInt64(length)),
            low: address.low & ~(UInt64.max >> UInt64(max(0, length - 64))))
    }
}

extension IPPrefix: CustomStringConvertible {
    public var description: String { length == Self.whole(address) ? "\(address)" : "\(address)/\(length)" }
}
