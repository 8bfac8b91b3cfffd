public import PacketWire

/// Makes ICMP and ICMPv6 errors as routers do.
public enum ICMPBuilder {
    /// The error that `router` sends about `packet`: it quotes the beginning.
    ///
    /// - Parameters:
    ///   - type: and `code`, of the family of `packet`.
    ///   - rest: the four bytes behind the checksum: of a packet that was too big, the MTU.
    ///   - quoting: how many bytes of the packet at most.
    public static func error(
        _ type: UInt8, _ code: UInt8, rest: UInt32 = 0, about packet: [UInt8], from router: IPAddress,
        quoting limit: Int = 548
    ) -> [UInt8] {
        guard let pair = IPAddress.pair(in: packet.span) else { return [] }
        var message: [UInt8] = [type, code, 0, 0]
        message.append(bigEndian: rest)
        message += packet.prefix(limit)
        return wrap(message, from: router, to: pair.source)
    }

    /// What a router with a link of `mtu` bytes says of a packet that is longer.
    public static func tooBig(_ packet: [UInt8], mtu: Int, from router: IPAddress) -> [UInt8] {
        router.isIPv6
            ? error(2, 0, rest: UInt32(mtu), about: packet, from: router, quoting: 1232)
            : error(3, 4, rest: UInt32(mtu), about: packet, from: router)
    }

    /// An IP packet with this ICMP message, its checksums filled in.
    public static func wrap(_ message: [UInt8], from source: IPAddress, to destination: IPAddress) -> [UInt8] {
        var message = message
        var sum = Checksum()
        if source.isIPv6 {
            sum.add(source)
            sum.add(destination)
            sum.add(word: UInt16(message.count))
            sum.add(word: 58)
        }
        sum.add(message.span)
        store(sum.value, in: &message, at: 2)
        var header: [UInt8]
        if source.isIPv6 {
            header = [0x60, 0, 0, 0, 0, 0, 58, 64] + source.bytes + destination.bytes
            store(UInt16(message.count), in: &header, at: 4)
        } else {
            header = [0x45, 0xc0, 0, 0, 0, 1, 0, 0, 64, 1, 0, 0] + source.bytes + destination.bytes
            store(UInt16(20 + message.count), in: &header, at: 2)
            var sum = Checksum()
            sum.add(header.span)
            store(sum.value, in: &header, at: 10)
        }
        return header + message
    }

    private static func store(_ value: UInt16, in bytes: inout [UInt8], at index: Int) {
        bytes[index] = UInt8(truncatingIfNeeded: value >> 8)
        bytes[index + 1] = UInt8(truncatingIfNeeded: value)
    }
}
