import Glibc
import SystemPackage

/// The MTU of network devices by index, asked of the kernel and remembered for some seconds.
public struct InterfaceTable: ~Copyable, Sendable {
    private struct Entry {
        var mtu: Int
        var expiry: Int64
    }

    private let socket: NetlinkSocket
    private var entries: [UInt32: Entry] = [:]

    static let limit = 256
    static let lifetime: Int64 = 3_000_000_000

    public init() throws(SystemCallError) {
        socket = try NetlinkSocket(.route)
    }

    /// The MTU of device `index` in bytes, 0 where unknown.
    /// - Parameter now: nanoseconds of the monotonic clock.
    public mutating func mtu(_ index: UInt32, now: Int64) -> Int {
        guard index != 0 else { return 0 }
        if let entry = entries[index], entry.expiry > now { return entry.mtu }
        let mtu = (try? query(index)) ?? 0
        if entries.count >= Self.limit { entries.removeAll(keepingCapacity: true) }
        entries[index] = Entry(mtu: mtu, expiry: now &+ Self.lifetime)
        return mtu
    }

    /// RTM_GETLINK (18) with an `ifinfomsg`, acknowledged so that the answer has an end.
    private func query(_ index: UInt32) throws(SystemCallError) -> Int {
        var device = [UInt8](repeating: 0, count: 16)
        unsafe withUnsafeBytes(of: index) { unsafe device.replaceSubrange(4..<8, with: $0) }
        var builder = NetlinkMessageBuilder(capacity: 512)
        builder.begin(type: 18, flags: NetlinkSocket.request | NetlinkSocket.acknowledge, extra: device)
        var mtu = 0
        try socket.dump(builder, "device \(index)") { span, header in
            guard header.type == 16, header.payload.count >= 16 else { return }
            var rest = header.payload.lowerBound + 16..<header.payload.upperBound
            while let (type, value) = span.nextAttribute(&rest) {
                if type == 4, value.count >= 4 { mtu = Int(span.native32(value.lowerBound)) }
            }
        }
        return mtu
    }
}
