/// `net.ipv4.tcp_mtu_probing` of this network namespace, which counts for IPv6 as well.
enum ProbingSetting {
    static let path = "/proc/sys/net/ipv4/tcp_mtu_probing"

    /// Whether the kernel's TCP finds out by itself what paths take: always, or after timeouts.
    static var isOn: Bool { KernelText.read(path).map { $0.first != UInt8(ascii: "0") } ?? false }
}
