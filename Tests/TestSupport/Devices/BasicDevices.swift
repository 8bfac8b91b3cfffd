import FlowEngine
import PacketWire

/// The end of a path: the receiving host.
public final class HostPort: NetworkDevice {
    private unowned let host: SimulatedHost

    public init(_ host: SimulatedHost) { self.host = host }

    public func transmit(_ packet: WirePacket, on network: EventQueue) {
        network.trace.note(network.time, "  -> \(host.name) \(Trace.describe(packet))")
        host.receiveFromWire(packet)
    }
}

/// The sending network device: segments super-packets, finishes checksums, and refuses what is too long.
public final class EgressDevice: NetworkDevice {
    private let mtu: Int
    private let next: any NetworkDevice
    public private(set) var violations: [String] = []

    public init(mtu: Int, next: any NetworkDevice) {
        self.mtu = mtu
        self.next = next
    }

    public func transmit(_ packet: WirePacket, on network: EventQueue) {
        for segment in segments(of: packet) {
            guard segment.bytes.count <= mtu || segment.isForged else {
                violations.append("\(segment.bytes.count) bytes on a device with MTU \(mtu)")
                continue
            }
            next.transmit(PacketBuilder.finished(segment), on: network)
        }
    }

    private func segments(of packet: WirePacket) -> [WirePacket] {
        guard let size = packet.segmentSize, let parsed = packet.parsed else { return [packet] }
        guard parsed.payload.count > size else {
            violations.append("super-packet of \(parsed.payload.count) bytes with segment size \(size)")
            return []
        }
        return Segmentation.cut(packet, parsed, at: Array(stride(from: size, to: parsed.payload.count, by: size)))
    }
}
