import PacketWire

/// Which segments of a handshake a middlebox meddles with.
public enum HandshakeSegment: Sendable, Hashable, CaseIterable { case syn, synAck, thirdAck }

/// A middlebox that removes TCP-ENO from chosen segments, or puts something else in its place.
public final class OptionMeddler: NetworkDevice {
    private let segment: HandshakeSegment
    private let replacement: [UInt8]?
    private let next: any NetworkDevice

    /// - Parameter replacement: a whole option that takes the place of ENO.
    public init(_ segment: HandshakeSegment, replacement: [UInt8]? = nil, next: any NetworkDevice) {
        self.segment = segment
        self.replacement = replacement
        self.next = next
    }

    public func transmit(_ packet: WirePacket, on network: EventQueue) {
        guard let parsed = packet.parsed, applies(to: parsed) else { return next.transmit(packet, on: network) }
        var options = TCPOptions(parsed, of: packet.bytes.span)
        guard options.contains(TCPOptionKind.encryptionNegotiation) else { return next.transmit(packet, on: network) }
        options.remove(TCPOptionKind.encryptionNegotiation)
        if let replacement { options.append(replacement) }
        var changed = packet
        changed.bytes = PacketBuilder.rewrite(
            parsed, of: packet.bytes, TCPHeader(parsed), options: options, payload: packet.bytes[parsed.payload])
        next.transmit(changed, on: network)
    }

    private func applies(to packet: TCPPacket) -> Bool {
        switch segment {
        case .syn: packet.flags.contains(.syn) && !packet.flags.contains(.ack)
        case .synAck: packet.flags.contains([.syn, .ack])
        case .thirdAck: !packet.flags.contains(.syn)
        }
    }
}
