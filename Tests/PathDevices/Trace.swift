import PacketWire

/// A compact record of what passed, for a run that failed.
public final class Trace {
    public private(set) var lines: [String] = []
    private let isEnabled: Bool

    public init(isEnabled: Bool) { self.isEnabled = isEnabled }

    public func note(_ now: Int64, _ line: @autoclosure () -> String) {
        guard isEnabled, lines.count < 200_000 else { return }
        let micros = now / 1000 - 1_000_000
        lines.append("\(micros / 1000).\(String(1000 + micros % 1000).dropFirst()) \(line())")
    }

    public static func describe(_ packet: WirePacket) -> String {
        guard let parsed = packet.parsed else { return "unparsable, \(packet.bytes.count) bytes" }
        let letters: [(flag: UInt8, letter: String)] = [
            (0x02, "S"), (0x01, "F"), (0x04, "R"), (0x08, "P"), (0x10, "."), (0x20, "U"),
        ]
        let flags = letters.filter { parsed.flags.rawValue & $0.flag != 0 }.map(\.letter).joined()
        let kinds = describeOptions(packet.bytes, parsed)
        return "\(parsed.source.port)>\(parsed.destination.port) \(flags) seq \(parsed.sequence.rawValue)"
            + "+\(parsed.payload.count) ack \(parsed.acknowledgment.rawValue) win \(parsed.window)\(kinds)"
            + (packet.segmentSize.map { " gso \($0)" } ?? "") + (packet.isForged ? " FORGED" : "")
    }
}
