import FlowEngine
import PacketWire
import Tcpcrypt

/// Two engines back to back. The fuzzer plays both kernels and the network between them: packets that are nearly right,
/// any bytes at all, loss, duplication, reordering, corruption, segments cut in two, time, restarts of one engine. Both engines know
/// RFC 8548 alone, or protected signalling too.
///
/// Checked: every packet gets exactly one verdict, everything the engines emit is a whole TCP packet, nothing traps.
func fuzz(_ input: [UInt8]) {
    var choices = Choices(input)
    let kind = choices.byte()
    let world = World(isIPv6: kind & 1 != 0, teps: kind & 2 == 0 ? [.curve25519] : [.curve25519MPTCP, .curve25519])
    while !choices.isEmpty { world.step(&choices) }
    world.finish()
}

final class World {
    private let sides: [Side]
    /// What travels towards side 0 and side 1.
    private var wires: [[[UInt8]]] = [[], []]
    private var now = Instant(nanoseconds: 1_000_000_000)

    init(isIPv6: Bool, teps: [TEP]) {
        let address = { (last: UInt64) in
            isIPv6 ? IPAddress(ipv6High: 0xfd00 << 48, low: last) : IPAddress(ipv4: 0x0a00_0000 | UInt32(last))
        }
        let ends = [Endpoint(address: address(1), port: 40_000), Endpoint(address: address(2), port: 80)]
        sides = [
            Side(local: ends[0], remote: ends[1], teps, seed: 1), Side(local: ends[1], remote: ends[0], teps, seed: 2),
        ]
    }

    func step(_ choices: inout Choices) {
        let choice = choices.byte()
        let side = Int(choice >> 7)
        switch choice & 0x0f {
        case 0...4: outbound(side, sides[side].kernelPacket(&choices))
        case 5...8: deliver(to: side, choices.byte())
        case 9: damage(to: side, &choices)
        case 10: cut(to: side, choices.below(wires[side].count), choices.word())
        case 11: pass(milliseconds: Int64(choices.byte()) * Int64(choices.byte()))
        case 12: outbound(side, choices.take(choices.below(120)))
        case 13: inbound(side, choices.take(choices.below(120)))
        case 14: rare(side, choices.byte())
        default: disturb(to: side, choices.byte())
        }
    }

    func finish() {
        for side in 0..<2 {
            for packet in wires[side].prefix(8) { inbound(side, packet) }
            sides[side].shutDown(now)
            collect(side)
        }
    }

    // MARK: Packets

    private func outbound(_ side: Int, _ packet: [UInt8]) {
        sides[side].receive(packet, .outbound, now)
        collect(side)
    }

    private func inbound(_ side: Int, _ packet: [UInt8]) {
        sides[side].receive(packet, .inbound, now)
        collect(side)
    }

    private func deliver(to side: Int, _ which: UInt8) {
        guard !wires[side].isEmpty else { return }
        // Mostly in order.
        let index = which < 200 ? 0 : Int(which) % wires[side].count
        inbound(side, wires[side].remove(at: index))
    }

    /// What the side sent travels to the other one.
    private func collect(_ side: Int) {
        wires[1 - side] += sides[side].sent
        sides[side].sent = []
        if wires[1 - side].count > 64 { wires[1 - side].removeFirst(wires[1 - side].count - 64) }
    }

    // MARK: The network's mischief

    private func damage(to side: Int, _ choices: inout Choices) {
        let index = choices.below(wires[side].count)
        guard index < wires[side].count, !wires[side][index].isEmpty else { return }
        let position = choices.word() % wires[side][index].count
        wires[side][index][position] ^= choices.byte()
    }

    private func cut(to side: Int, _ index: Int, _ position: Int) {
        guard index < wires[side].count else { return }
        let bytes = wires[side][index]
        guard let packet = try? TCPPacket(parsing: bytes.span), packet.payload.count > 1 else { return }
        let middle = 1 + position % (packet.payload.count - 1)
        let options = TCPOptions(packet, of: bytes.span)
        let payload = Array(bytes[packet.payload])
        var header = TCPHeader(packet)
        let first = rewrite(packet, header, options, payload: Array(payload[..<middle]), template: bytes)
        header.sequence = packet.sequence + middle
        let second = rewrite(packet, header, options, payload: Array(payload[middle...]), template: bytes)
        wires[side].replaceSubrange(index...index, with: [first, second])
    }

    private func disturb(to side: Int, _ what: UInt8) {
        guard let first = wires[side].first else { return }
        switch what % 3 {
        case 0: wires[side].removeFirst()
        case 1: wires[side].append(first)
        default: wires[side].append(wires[side].removeFirst())
        }
    }

    private func pass(milliseconds: Int64) {
        now = now.adding(milliseconds: milliseconds)
        for side in 0..<2 {
            sides[side].handleDeadlines(now)
            collect(side)
        }
    }

    /// A router says something about a packet that this side has sent, and may forward it nevertheless.
    private func complain(to side: Int, _ what: UInt8) {
        let wire = wires[1 - side]
        guard !wire.isEmpty else { return }
        inbound(
            side, icmpError(about: wire[Int(what >> 3) % wire.count], mtu: 512 + Int(what) * 4, isTooBig: what & 1 == 0)
        )
    }

    private func rare(_ side: Int, _ what: UInt8) {
        switch what % 5 {
        case 0: sides[side].reconcile(now, isAlive: what & 0x80 != 0)
        case 1: sides[side].restart(now)
        case 2 where what > 200: sides[side].shutDown(now)
        case 3: sides[side].report(now)
        case 4 where what > 64: complain(to: side, what)
        default: sides[side].flush()
        }
        collect(side)
    }
}

/// An ICMP or ICMPv6 error without a valid IPv4 header checksum, which nobody here looks at.
func icmpError(about packet: [UInt8], mtu: Int, isTooBig: Bool) -> [UInt8] {
    guard let pair = IPAddress.pair(in: packet.span) else { return [] }
    let isIPv6 = pair.source.isIPv6
    let kind: [UInt8] = isIPv6 ? [isTooBig ? 2 : 1, 0] : [3, isTooBig ? 4 : 1]
    var message = kind + [0, 0, 0, 0, UInt8(truncatingIfNeeded: mtu >> 8), UInt8(truncatingIfNeeded: mtu)]
    message += packet.prefix(isIPv6 ? 1232 : 548)
    let size = isIPv6 ? message.count : message.count + 20
    let length = [UInt8(truncatingIfNeeded: size >> 8), UInt8(truncatingIfNeeded: size)]
    var bytes: [UInt8] =
        isIPv6 ? [0x60, 0, 0, 0] + length + [58, 64] : [0x45, 0, length[0], length[1], 0, 0, 0, 0, 64, 1, 0, 0]
    bytes += pair.destination.bytes + pair.source.bytes + message
    guard let error = ICMPError(parsing: bytes.span) else { return bytes }
    // Written anew it has a checksum.
    var output = [UInt8](repeating: 0, count: error.length)
    var target = output.mutableSpan
    error.write(sequence: error.sequence, mtu: mtu, template: bytes.span, into: &target)
    return output
}

func rewrite(
    _ packet: TCPPacket, _ header: TCPHeader, _ options: TCPOptions, payload: [UInt8], template: [UInt8]
) -> [UInt8] {
    let length = packet.length(options: options, payloadCount: payload.count)
    var output = [UInt8](repeating: 0, count: length)
    for index in payload.indices { output[length - payload.count + index] = payload[index] }
    var target = output.mutableSpan
    packet.write(header, options: options, template: template.span, checksum: .full, into: &target)
    return output
}
