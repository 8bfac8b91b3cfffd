import PacketWire
import PathDevices

/// Where a path ends in a test.
final class Collector: NetworkDevice {
    var packets: [WirePacket] = []
    var times: [Int64] = []

    func transmit(_ packet: WirePacket, on network: EventQueue) {
        packets.append(packet)
        times.append(network.time)
    }

    var parsed: [TCPPacket] { packets.compactMap(\.parsed) }
    func data(_ index: Int) -> [UInt8] { packets[index].parsed.map { Array(packets[index].bytes[$0.payload]) } ?? [] }
    func options(_ index: Int) -> TCPOptions {
        let bytes = packets[index].bytes
        guard let parsed = packets[index].parsed else { return TCPOptions() }
        return TCPOptions(parsed, of: bytes.span)
    }
}

/// A path with a collector at each end, and packets of one connection from left to right and back.
struct Bench {
    let right = Collector()
    let left = Collector()
    let path: DevicePath
    let queue = EventQueue(time: 0)
    let isIPv6: Bool

    init(isIPv6: Bool = false, seed: UInt64 = 7, toRight: String = "", toLeft: String = "") throws {
        self.isIPv6 = isIPv6
        path = DevicePath(seed: seed, right: right, left: left)
        path.set(.toRight, to: try PathSpecification(parsing: toRight))
        path.set(.toLeft, to: try PathSpecification(parsing: toLeft))
    }

    var leftEnd: Endpoint { Endpoint(address: address(1), port: 40_000) }
    var rightEnd: Endpoint { Endpoint(address: address(2), port: 443) }

    private func address(_ last: UInt32) -> IPAddress {
        isIPv6
            ? IPAddress(ipv6High: 0xfd00_0000_0000_0000, low: UInt64(last)) : IPAddress(ipv4: 0x0a00_0000 | last)
    }

    func segment(
        _ direction: PathDirection = .toRight, _ flags: TCPFlags = [.ack], sequence: UInt32 = 1000, ack: UInt32 = 0,
        window: UInt16 = 1000, options: [UInt8] = [], data: [UInt8] = []
    ) -> WirePacket {
        let header = TCPHeader(
            sequence: SequenceNumber(sequence), acknowledgment: SequenceNumber(ack), flags: flags, window: window)
        let ends = direction == .toRight ? (leftEnd, rightEnd) : (rightEnd, leftEnd)
        var packet = WirePacket(
            PacketBuilder.packet(
                from: ends.0, to: ends.1, header, options: TCPOptions(parsing: options.span), payload: data))
        packet.link.source = direction == .toRight ? 1 : 2
        packet.link.destination = direction == .toRight ? 2 : 1
        return packet
    }

    func send(_ packet: WirePacket, _ direction: PathDirection = .toRight) {
        path.entry(direction).transmit(packet, on: queue)
    }

    /// Sends and lets so much time pass.
    func send(_ packets: [WirePacket], _ direction: PathDirection = .toRight, milliseconds: Int64 = 0) {
        for packet in packets { send(packet, direction) }
        wait(milliseconds: milliseconds)
    }

    func wait(milliseconds: Int64) { queue.advance(to: queue.time + milliseconds * 1_000_000) }

    func count(_ name: String, _ direction: PathDirection = .toRight) -> UInt64 {
        path.counters(direction).first { $0.name == name }?.value ?? 0
    }

    /// Whether every packet that arrived anywhere has right checksums, and the link header of its direction.
    var isSound: Bool {
        right.packets.allSatisfy { isSound($0, .toRight) } && left.packets.allSatisfy { isSound($0, .toLeft) }
    }

    private func isSound(_ packet: WirePacket, _ direction: PathDirection) -> Bool {
        let link = (packet.link.source, packet.link.destination)
        guard direction == .toRight ? link == (1, 2) : link == (2, 1) else { return false }
        return packet.parsed.map { PacketBuilder.hasValidChecksums(packet.bytes, $0) } ?? true
    }
}

func pattern(_ count: Int, from start: Int = 0) -> [UInt8] {
    (0..<count).map { UInt8(truncatingIfNeeded: ($0 + start) * 7) }
}
