import SystemPackage

/// What the kernel counts about a queue since it was bound (/proc/net/netfilter/nfnetlink_queue).
public struct QueueStatistics: Sendable, Hashable {
    public var queue: UInt16
    /// Packets whose verdict is pending.
    public var waiting: UInt64
    /// Packets dropped because the queue was full.
    public var overflows: UInt64
    /// Packets dropped because the netlink socket's buffer was full.
    public var socketOverflows: UInt64

    private static let path = FilePath("/proc/self/net/netfilter/nfnetlink_queue")

    /// Every queue of this network namespace; empty where the kernel does not tell.
    public static func read() -> [QueueStatistics] {
        guard let file = try? FileDescriptor.open(Self.path, .readOnly) else {
            return []
        }
        defer { try? file.close() }
        var bytes = [UInt8](repeating: 0, count: 8192)
        let count = (try? unsafe bytes.withUnsafeMutableBytes { unsafe try file.read(into: $0) }) ?? 0
        return parse(String(decoding: bytes[0..<count], as: UTF8.self))
    }

    /// Lines of: queue, port id, waiting, copy mode, copy range, dropped, dropped by the socket, last id, 1.
    static func parse(_ text: String) -> [QueueStatistics] {
        text.split(separator: "\n").compactMap { line in
            let fields = line.split(separator: " ")
            guard fields.count >= 7, let queue = UInt16(fields[0]), let waiting = UInt64(fields[2]),
                let overflows = UInt64(fields[5]), let socketOverflows = UInt64(fields[6])
            else { return nil }
            return QueueStatistics(
                queue: queue, waiting: waiting, overflows: overflows, socketOverflows: socketOverflows)
        }
    }
}
