import DequeModule
import PacketWire
import Tcpcrypt

/// What routers have said of the paths between two addresses: the longest packet each takes on the wire.
///
/// The kernel is told less, so that its segments leave room for a frame, and remembers that in its route. So what its
/// route says is no longer what the path takes; this table knows the difference.
struct PathMTUs {
    struct Path: Hashable {
        var local: IPAddress
        var remote: IPAddress

        init(_ tuple: FlowTuple) {
            local = tuple.local.address
            remote = tuple.remote.address
        }
    }

    private struct Entry {
        var mtu: Int
        var learned: Instant
    }

    private var entries: [Path: Entry] = [:]
    /// The order in which they came, for the oldest makes way.
    private var order: Deque<Path> = []

    static let limit = 4096
    /// As long as the kernel keeps it (`net.ipv4.route.mtu_expires`, `net.ipv6.route.mtu_expires`).
    static let lifetime: Int64 = 600_000
    /// After this the kernel's route tells, should it say more.
    static let settling: Int64 = 1000

    var count: Int { entries.count }

    /// Takes what a router said of a packet on `path`. Of several sayings the least counts, as it does for the kernel,
    /// unless the kernel has forgotten it.
    ///
    /// - Parameter route: what the kernel's route says.
    /// - Returns: what to tell the kernel.
    mutating func learn(_ announced: Int, _ path: Path, route: Int, _ now: Instant) -> Int {
        let isIPv6 = path.remote.isIPv6
        // Below the least IPv6 MTU the kernel takes no notice, nor do we (RFC 8201 section 4).
        guard !isIPv6 || announced >= Self.leastIPv6 else { return announced }
        // Below its least IPv4 MTU the kernel sends packets of that size that routers may fragment.
        let mtu = announced >= Self.leastIPv4 ? announced : Self.leastIPv4 + Frame.overhead
        let isForgotten = limits(path, route: route, now).wire == route
        let least = min(mtu, isForgotten ? Int.max : entries[path]?.mtu ?? Int.max)
        if entries.updateValue(Entry(mtu: least, learned: now), forKey: path) == nil { order.append(path) }
        if entries.count > Self.limit, let oldest = order.popFirst() { entries[oldest] = nil }
        guard announced >= Self.leastIPv4 else { return announced }
        return Self.toKernel(mtu, isIPv6: isIPv6)
    }

    /// How long a packet on the wire may be, and how long the kernel lets its own be, where its route says `route` (0 where
    /// that is unknown).
    func limits(_ path: Path, route: Int, _ now: Instant) -> (wire: Int, kernel: Int) {
        guard let entry = fresh(path, now) else { return (route, route) }
        let told = Self.toKernel(entry.mtu, isIPv6: path.remote.isIPv6)
        if route == told || route == 0 { return (entry.mtu, told) }
        // The kernel may know of a narrower path, or have forgotten this one; or nobody has asked it since it was told.
        let isSettling = now.milliseconds(since: entry.learned) < Self.settling
        return isSettling && route > told ? (min(route, entry.mtu), told) : (route, route)
    }

    /// What the path took when it was last heard of.
    func known(_ path: Path, _ now: Instant) -> Int? { fresh(path, now)?.mtu }

    private func fresh(_ path: Path, _ now: Instant) -> Entry? {
        guard let entry = entries[path], now.milliseconds(since: entry.learned) < Self.lifetime else { return nil }
        return entry
    }

    /// What leaves room for a frame, unless the kernel would take no notice.
    private static func toKernel(_ mtu: Int, isIPv6: Bool) -> Int {
        max(isIPv6 ? leastIPv6 : leastIPv4, mtu - Frame.overhead)
    }

    private static let leastIPv6 = 1280
    /// The default of `net.ipv4.route.min_pmtu`.
    private static let leastIPv4 = 552
}
