import PacketWire

extension Trace {
    /// The options worth reading: SACK blocks, ENO bytes, the kinds of the others.
    static func describeOptions(_ bytes: [UInt8], _ packet: TCPPacket) -> String {
        let options = TCPOptions(packet, of: bytes.span)
        var text = ""
        let blocks = options.sackBlocks
        if !blocks.isEmpty {
            text += " sack " + blocks.map { "\($0.start.rawValue)-\($0.end.rawValue)" }.joined(separator: ",")
        }
        if let eno = options.contents(of: TCPOptionKind.encryptionNegotiation) {
            text += " eno[" + eno.map { String($0, radix: 16) }.joined(separator: " ") + "]"
        }
        if let mptcp = options.contents(of: TCPOptionKind.mptcp), let first = mptcp.first {
            text += " mptcp\(first >> 4)/\(mptcp.count + 2)"
        }
        if let timestamps = options.timestamps { text += " ts \(timestamps.value),\(timestamps.echo)" }
        return text
    }
}
