public import PacketWire

/// Cutting and joining of TCP segments.
public enum Segmentation {
    /// Cuts the data at the given places; FIN and PSH stay with the last piece.
    public static func cut(_ packet: WirePacket, _ parsed: TCPPacket, at places: [Int]) -> [WirePacket] {
        guard packet.isIntact(parsed) else { return [packet] }
        let options = TCPOptions(parsed, of: packet.bytes.span)
        let edges = [0] + places + [parsed.payload.count]
        return zip(edges, edges.dropFirst()).map { start, end in
            var header = TCPHeader(parsed)
            header.sequence = parsed.sequence + start
            if end < parsed.payload.count { header.flags.subtract([.fin, .psh]) }
            if header.flags.contains(.urg) {
                if Int(parsed.urgentPointer) > start {
                    header.urgentPointer = parsed.urgentPointer - UInt16(start)
                } else {
                    header.flags.remove(.urg)
                    header.urgentPointer = 0
                }
            }
            let from = parsed.payload.lowerBound
            var piece = packet
            piece.bytes = PacketBuilder.rewrite(
                parsed, of: packet.bytes, header, options: options, payload: packet.bytes[from + start..<from + end])
            piece.segmentSize = nil
            piece.hasPartialChecksum = false
            return piece
        }
    }

    /// Joins two adjacent segments as a receiving stack does; nil where they differ.
    public static func join(_ first: WirePacket, _ second: WirePacket) -> WirePacket? {
        guard let a = first.parsed, let b = second.parsed, first.isForged == second.isForged,
            a.source == b.source, a.destination == b.destination, a.sequence + a.payload.count == b.sequence,
            a.acknowledgment == b.acknowledgment, a.window == b.window, !a.payload.isEmpty, !b.payload.isEmpty,
            a.flags.isDisjoint(with: [.syn, .fin, .rst, .urg, .psh]), b.flags.isDisjoint(with: [.syn, .rst, .urg]),
            first.bytes[a.options] == second.bytes[b.options], first.isIntact(a), second.isIntact(b)
        else { return nil }
        let size = first.segmentSize ?? a.payload.count
        let isCutShort = a.payload.count % size != 0
        guard !isCutShort, b.payload.count <= size, a.payload.count + b.payload.count < 65_000 else { return nil }
        var header = TCPHeader(a)
        header.flags = header.flags.union(b.flags)
        var joined = first
        joined.bytes = PacketBuilder.rewrite(
            a, of: first.bytes, header, options: TCPOptions(a, of: first.bytes.span),
            payload: (first.bytes[a.payload] + second.bytes[b.payload])[...], checksum: .leftToKernel)
        joined.segmentSize = size
        joined.hasPartialChecksum = true
        return joined
    }
}
