import SystemPackage

/// `net.ipv4.tcp_mtu_probing` of this network namespace, which counts for IPv6 as well.
enum ProbingSetting {
    static let path = "/proc/sys/net/ipv4/tcp_mtu_probing"

    /// Whether the kernel's TCP finds out by itself what paths take: always, or after timeouts.
    static var isOn: Bool {
        guard let file = try? unsafe FileDescriptor.open(path, .readOnly) else { return false }
        defer { try? file.close() }
        var digit: [UInt8] = [0]
        let count = unsafe digit.withUnsafeMutableBytes { unsafe (try? file.read(into: $0)) ?? 0 }
        return count == 1 && digit[0] != UInt8(ascii: "0")
    }
}
