import FlowEngine
import PacketWire

/// What an attacker on the path may do to a connection.
public struct Hostility: Sendable {
    /// The chance per data packet that its data is altered, the checksum fixed.
    public var corruption = 0.0
    /// The chance per packet that a forged one travels ahead of it.
    public var forgery = 0.0
    /// The chance per packet that bytes that are hardly a packet come along.
    public var garbage = 0.0
    /// Whether forged packets may also reset and acknowledge: then nothing need ever complete.
    public var forgesControl = false
    /// Forged packets at most: a connection may be aborted after too many.
    public var limit = 40

    public init() {}
}

/// An attacker on the path who knows everything but the keys.
public final class Attacker: NetworkDevice {
    private let hostility: Hostility
    private var random: SeededRandom
    private let next: any NetworkDevice
    private let isArmed: () -> Bool
    private var made = 0
    private var earlier: [WirePacket] = []

    public init(
        _ hostility: Hostility, random: SeededRandom, next: any NetworkDevice, isArmed: @escaping () -> Bool
    ) {
        self.hostility = hostility
        self.random = random
        self.next = next
        self.isArmed = isArmed
    }

    public func transmit(_ packet: WirePacket, on network: EventQueue) {
        guard isArmed(), made < hostility.limit, let parsed = packet.parsed, !parsed.flags.contains(.syn) else {
            return next.transmit(packet, on: network)
        }
        if random.chance(hostility.garbage) { forge(garbage(packet), network) }
        if random.chance(hostility.forgery) { forge(forgery(packet, parsed), network) }
        if random.chance(hostility.corruption), !parsed.payload.isEmpty {
            return forge(corrupted(packet, parsed), network)
        }
        if earlier.count < 50 { earlier.append(packet) }
        next.transmit(packet, on: network)
    }

    private func forge(_ bytes: [UInt8], _ network: EventQueue) {
        var packet = WirePacket(bytes)
        packet.isForged = true
        made += 1
        network.trace.note(network.time, "forged \(Trace.describe(packet))")
        next.transmit(packet, on: network)
    }

    private func corrupted(_ packet: WirePacket, _ parsed: TCPPacket) -> [UInt8] {
        var bytes = packet.bytes
        for _ in 0..<random.int(1...4) {
            bytes[random.int(parsed.payload.lowerBound...parsed.payload.upperBound - 1)] ^= UInt8(random.int(1...255))
        }
        return PacketBuilder.withChecksum(bytes, parsed)
    }

    private func forgery(_ packet: WirePacket, _ parsed: TCPPacket) -> [UInt8] {
        var header = TCPHeader(parsed)
        var payload = ArraySlice(random.bytes(random.int(1...1200)))
        header.flags = [.ack, .psh]
        switch random.int(0...(hostility.forgesControl ? 8 : 4)) {
        case 0: break
        case 1: header.sequence = header.sequence + random.int(0...40_000)
        case 2: header.sequence = header.sequence + random.int(-3000...3000)
        case 3: return earlier.isEmpty ? packet.bytes : random.pick(earlier).bytes
        case 4:
            // An end of file that nobody signed.
            header.flags = [.fin, .ack]
            payload = []
        case 5:
            header.flags = [.rst, .ack]
            payload = []
            if random.chance(0.5) { header.sequence = header.sequence + random.int(1...5000) }
        case 6: header.flags = [.fin, .ack]
        case 7:
            header.acknowledgment = header.acknowledgment + random.int(-20_000...200_000)
            header.window = UInt16(random.int(0...65_535))
            payload = []
        default:
            header.flags = TCPFlags(rawValue: UInt8(random.int(0...255)))
            header.sequence = header.sequence + random.int(-70_000...70_000)
        }
        let options = TCPOptions(parsed, of: packet.bytes.span)
        return PacketBuilder.rewrite(parsed, of: packet.bytes, header, options: options, payload: payload)
    }

    /// Bytes of a packet, cut off, overwritten or random.
    private func garbage(_ packet: WirePacket) -> [UInt8] {
        switch random.int(0...3) {
        case 0: return random.bytes(random.int(0...100))
        case 1: return Array(packet.bytes.prefix(random.int(0...60)))
        case 2:
            var bytes = packet.bytes
            bytes[random.int(0...min(60, bytes.count) - 1)] = UInt8(random.int(0...255))
            return bytes
        default:
            var bytes = packet.bytes
            guard let parsed = packet.parsed else { return bytes }
            for index in parsed.options { bytes[index] = UInt8(random.int(0...255)) }
            return hostility.forgesControl ? PacketBuilder.withChecksum(bytes, parsed) : bytes
        }
    }
}
