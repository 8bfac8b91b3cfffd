import FlowEngine
import PacketWire

/// One flow in the journal: 64 bytes, numbers big-endian.
///
/// | bytes | field |
/// |---|---|
/// | 0 | 4 or 6, the IP version; 0 for a free slot |
/// | 1 | 1 when the MPTCP keys are valid |
/// | 2-3 | magic 7c 01 |
/// | 4-7 | local port, remote port |
/// | 8-39 | local and remote address, 16 bytes each |
/// | 40-55 | local and remote MPTCP key |
/// | 56-59 | checksum of bytes 2-39 and of the IP version |
/// | 60-63 | checksum of bytes 40-55 |
enum JournalSlot {
    static let size = 64
    static let keysFlag = 1
    static let keys = 40..<56
    static let keysChecksum = 60..<64

    static func encode(_ flow: CondemnedFlow) -> [UInt8] {
        var bytes: [UInt8] = [flow.tuple.local.address.isIPv6 ? 6 : 4, flow.keys == nil ? 0 : 1, 0x7c, 0x01]
        for endpoint in [flow.tuple.local, flow.tuple.remote] {
            bytes += big(UInt64(endpoint.port), count: 2)
        }
        for endpoint in [flow.tuple.local, flow.tuple.remote] {
            bytes += big(endpoint.address.high, count: 8) + big(endpoint.address.low, count: 8)
        }
        bytes += big(flow.keys?.local ?? 0, count: 8) + big(flow.keys?.remote ?? 0, count: 8)
        bytes += big(UInt64(tupleChecksum(bytes)), count: 4)
        bytes += big(UInt64(checksum(bytes[keys])), count: 4)
        return bytes
    }

    /// The flow in `bytes`; nil for a free slot and for anything that is no slot of ours.
    static func decode(_ bytes: [UInt8]) -> CondemnedFlow? {
        guard bytes.count == size, bytes[0] == 4 || bytes[0] == 6, bytes[2] == 0x7c, bytes[3] == 0x01,
            number(bytes[56..<60]) == UInt64(tupleChecksum(bytes))
        else { return nil }
        let isIPv6 = bytes[0] == 6
        let tuple = FlowTuple(
            local: Endpoint(address: address(bytes, 8, isIPv6), port: UInt16(number(bytes[4..<6]))),
            remote: Endpoint(address: address(bytes, 24, isIPv6), port: UInt16(number(bytes[6..<8]))))
        // Keys that are torn are no keys; the flow stays condemned.
        let isKeyed = bytes[keysFlag] == 1 && number(bytes[keysChecksum]) == UInt64(checksum(bytes[keys]))
        let found = MPTCPKeys(local: number(bytes[40..<48]), remote: number(bytes[48..<56]))
        return CondemnedFlow(tuple: tuple, keys: isKeyed ? found : nil)
    }

    private static func address(_ bytes: [UInt8], _ offset: Int, _ isIPv6: Bool) -> IPAddress {
        let low = number(bytes[offset + 8..<offset + 16])
        guard isIPv6 else { return IPAddress(ipv4: UInt32(truncatingIfNeeded: low)) }
        return IPAddress(ipv6High: number(bytes[offset..<offset + 8]), low: low)
    }

    private static func big(_ value: UInt64, count: Int) -> [UInt8] {
        (0..<count).map { UInt8(truncatingIfNeeded: value >> UInt64(8 * (count - 1 - $0))) }
    }

    private static func number(_ bytes: ArraySlice<UInt8>) -> UInt64 { bytes.reduce(0) { $0 << 8 | UInt64($1) } }

    private static func tupleChecksum(_ bytes: [UInt8]) -> UInt32 {
        checksum(bytes[2..<40], seed: 0x811c_9dc5 ^ UInt32(bytes[0]))
    }

    /// FNV-1a: against accidents, not against those who can write to a file of root.
    private static func checksum(_ bytes: ArraySlice<UInt8>, seed: UInt32 = 0x811c_9dc5) -> UInt32 {
        bytes.reduce(seed) { ($0 ^ UInt32($1)) &* 0x0100_0193 }
    }
}
