import CNetfilterQueue
import Glibc
public import PacketWire
import SystemPackage

/// Which addresses of this host it has lost: a raw socket sends from any address, where the kernel's TCP sends from its own alone.
///
/// An address that never was the host's own is not lost: transparent proxies serve such.
public struct OwnAddresses: ~Copyable, Sendable {
    /// Asked by bind(2), as often as one likes; they neither send nor receive.
    private let ipv4: Descriptor
    /// Absent where the kernel has no IPv6.
    private let ipv6: Descriptor?
    /// Addresses that were the host's own, and when they were last found to be.
    private var seen: [IPAddress: Int64] = [:]

    static let limit = 4096
    /// For how many nanoseconds it counts that an address was found to be the host's own.
    static let lifetime: Int64 = 20_000_000

    public init() throws(SystemCallError) {
        ipv4 = try Self.open(AF_INET)
        ipv6 = try? Self.open(AF_INET6)
    }

    private static func open(_ family: Int32) throws(SystemCallError) -> Descriptor {
        try Descriptor.socket(family, Int32(SOCK_RAW.rawValue), Int32(IPPROTO_RAW), "raw socket")
    }

    /// Whether `address` was the host's own when it was asked about before, and is no more.
    ///
    /// - Parameter now: nanoseconds of the monotonic clock.
    public mutating func isLost(_ address: IPAddress, now: Int64) -> Bool {
        let last = seen[address]
        if let last, now &- last < Self.lifetime { return false }
        guard isOwn(address) else { return last != nil }
        if last == nil, seen.count >= Self.limit { seen.removeAll(keepingCapacity: true) }
        seen[address] = now
        return false
    }

    /// What cannot be asked, as a link-local address without its device, counts as such.
    private func isOwn(_ address: IPAddress) -> Bool {
        var builder = NativeBytes()
        builder.append(UInt16(address.isIPv6 ? AF_INET6 : AF_INET))
        builder.append([UInt8](repeating: 0, count: address.isIPv6 ? 6 : 2))
        builder.append(address.bytes)
        builder.append([UInt8](repeating: 0, count: address.isIPv6 ? 4 : 8))
        guard address.isIPv6 else { return Self.canBind(ipv4.rawValue, builder.bytes) }
        return switch ipv6 {
        case .some(let descriptor): Self.canBind(descriptor.rawValue, builder.bytes)
        case .none: true
        }
    }

    private static func canBind(_ descriptor: Int32, _ address: [UInt8]) -> Bool {
        unsafe address.withUnsafeBytes { bytes in
            guard let start = bytes.baseAddress else { return true }
            let result = unsafe bind(
                descriptor, start.assumingMemoryBound(to: sockaddr.self), socklen_t(bytes.count))
            return result == 0 || errno != EADDRNOTAVAIL
        }
    }
}
