import FlowEngine
import PacketWire

/// Any bytes as a slot of the crash journal: what is understood says the same when written and read again.
func fuzz(_ input: [UInt8]) {
    for start in stride(from: 0, through: input.count, by: JournalSlot.size) {
        let slot = Array(input[start..<min(input.count, start + JournalSlot.size)])
        guard let flow = JournalSlot.decode(slot) else { continue }
        require(JournalSlot.decode(JournalSlot.encode(flow)) == flow, "a flow survives the journal")
    }
    damaged(input)
}

/// A genuine slot with bytes changed: never another flow without its checksum being right.
private func damaged(_ input: [UInt8]) {
    guard input.count >= 45 else { return }
    let address = { (offset: Int) in
        let word = { (at: Int) in input[at..<at + 4].reduce(UInt64(0)) { $0 << 8 | UInt64($1) } }
        return input[44] & 1 == 0
            ? IPAddress(ipv4: UInt32(truncatingIfNeeded: word(offset)))
            : IPAddress(ipv6High: 0xfd00 << 48 | word(offset), low: word(offset + 4))
    }
    let tuple = FlowTuple(
        local: Endpoint(address: address(0), port: 443), remote: Endpoint(address: address(8), port: UInt16(input[16])))
    let flow = CondemnedFlow(tuple: tuple, keys: input[44] & 2 == 0 ? nil : MPTCPKeys(local: 1, remote: 2))
    var slot = JournalSlot.encode(flow)
    require(slot.count == JournalSlot.size, "a slot has its size")
    require(JournalSlot.decode(slot) == flow, "a genuine slot is read")
    slot[Int(input[17]) % slot.count] ^= input[18]
    _ = JournalSlot.decode(slot)
}
