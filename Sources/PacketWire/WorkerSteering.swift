/// Which of several workers a packet belongs to: the same one for both directions of a connection, and for ICMP errors about it.
///
/// Ports alone decide, since they are all that a packet filter finds at once in both versions of IP. The filter in the target `Firewall`
/// computes the same; it takes what it cannot read for worker 0's.
public enum WorkerSteering {
    /// 2^32 divided by the golden ratio: ports that follow each other, even ones alone too, come to different workers.
    public static let multiplier: UInt32 = 0x9E37_79B1
    /// The low bits of the product are thrown away: they depend on the low bits of the ports alone.
    public static let shift: UInt32 = 16

    /// - Parameter workers: at least 1.
    public static func worker(of source: UInt16, _ destination: UInt16, among workers: Int) -> Int {
        let product = (UInt32(source) + UInt32(destination)) &* multiplier
        return Int(product >> shift) % max(1, workers)
    }

    /// The worker of a TCP packet, or of the packet that an ICMP error quotes; nil for anything else.
    public static func worker(of packet: Span<UInt8>, among workers: Int) -> Int? {
        if let segment = try? TCPPacket(parsing: packet) {
            return worker(of: segment.source.port, segment.destination.port, among: workers)
        }
        return ICMPError(parsing: packet).map {
            worker(of: $0.source.port, $0.destination.port, among: workers)
        }
    }
}
