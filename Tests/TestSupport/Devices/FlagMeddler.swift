import PacketWire

/// An attacker on the path who takes every FIN away, and says at random what is urgent.
final class FlagMeddler: NetworkDevice {
    private var random: SeededRandom
    private let next: any NetworkDevice
    private let isArmed: () -> Bool

    init(random: SeededRandom, next: any NetworkDevice, isArmed: @escaping () -> Bool) {
        self.random = random
        self.next = next
        self.isArmed = isArmed
    }

    func transmit(_ packet: WirePacket, on network: EventQueue) {
        guard isArmed(), let parsed = packet.parsed, parsed.flags.isDisjoint(with: [.syn, .rst]) else {
            return next.transmit(packet, on: network)
        }
        var header = TCPHeader(parsed)
        header.flags.subtract([.fin, .urg])
        if random.chance(0.2) {
            header.flags.insert(.urg)
            header.urgentPointer = UInt16(random.int(0...65_535))
        }
        var changed = packet
        changed.bytes = PacketBuilder.rewrite(
            parsed, of: packet.bytes, header, options: TCPOptions(parsed, of: packet.bytes.span),
            payload: packet.bytes[parsed.payload])
        next.transmit(changed, on: network)
    }
}
