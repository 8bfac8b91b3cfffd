import Glibc
public import PacketWire
import SystemPackage

/// The MTU of the routes to destinations, path MTU discovery's findings included, asked of the kernel and remembered for a moment.
///
/// A packet of the kernel that just fits the path no longer does when frames are added to it.
public struct RouteTable: ~Copyable, Sendable {
    private struct Key: Hashable {
        var source: IPAddress
        var destination: IPAddress
        var interface: UInt32
        var mark: UInt32
    }

    private struct Entry {
        var mtu: Int
        var expiry: Int64
    }

    private let socket: NetlinkSocket
    private var entries: [Key: Entry] = [:]

    static let limit = 4096
    /// Short: after a packet was too big for the path the kernel sends it again at once, and a second loss is a timeout.
    static let lifetime: Int64 = 20_000_000

    public init() throws(SystemCallError) {
        socket = try NetlinkSocket(.route)
    }

    /// The MTU that the route from `source` to `destination` by device `interface` has of its own; 0 where it has none or there is no such route.
    ///
    /// - Parameters:
    ///   - mark: the packet mark, for routing by mark.
    ///   - now: nanoseconds of the monotonic clock.
    public mutating func mtu(
        from source: IPAddress, to destination: IPAddress, interface: UInt32, mark: UInt32, now: Int64
    ) -> Int {
        let key = Key(source: source, destination: destination, interface: interface, mark: mark)
        if let entry = entries[key], entry.expiry > now { return entry.mtu }
        let mtu = (try? query(key)) ?? 0
        if entries.count >= Self.limit { entries.removeAll(keepingCapacity: true) }
        entries[key] = Entry(mtu: mtu, expiry: now &+ Self.lifetime)
        return mtu
    }

    /// RTM_GETROUTE (26) with an `rtmsg`, acknowledged so that the answer has an end (linux/rtnetlink.h).
    private func query(_ key: Key) throws(SystemCallError) -> Int {
        let bits = UInt8(key.destination.isIPv6 ? 128 : 32)
        var route = NativeBytes()
        route.append([UInt8(key.destination.isIPv6 ? AF_INET6 : AF_INET), bits, bits])
        route.append([UInt8](repeating: 0, count: 9))
        for (type, address) in [(Self.destination, key.destination), (Self.source, key.source)] {
            route.append(UInt16(4 + address.bytes.count))
            route.append(type)
            route.append(address.bytes)
        }
        for (type, value) in [(Self.outputInterface, key.interface), (Self.mark, key.mark)] where value != 0 {
            route.append(8 as UInt16)
            route.append(type)
            route.append(value)
        }
        var builder = NetlinkMessageBuilder(capacity: 512)
        builder.begin(type: 26, flags: NetlinkSocket.request | NetlinkSocket.acknowledge, extra: route.bytes)
        var mtu = 0
        try socket.dump(builder, "route to \(key.destination)") { span, header in
            guard header.type == 24, header.payload.count >= 12 else { return }
            var rest = header.payload.lowerBound + 12..<header.payload.upperBound
            while let (type, value) = span.nextAttribute(&rest) {
                guard type == Self.metrics else { continue }
                var metrics = value
                while let (metric, number) = span.nextAttribute(&metrics) {
                    if metric == Self.mtuMetric, number.count >= 4 { mtu = Int(span.native32(number.lowerBound)) }
                }
            }
        }
        return mtu
    }

    private static let destination: UInt16 = 1
    private static let source: UInt16 = 2
    private static let outputInterface: UInt16 = 4
    private static let metrics: UInt16 = 8
    private static let mark: UInt16 = 16
    private static let mtuMetric: UInt16 = 2
}
