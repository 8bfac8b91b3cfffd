import FlowEngine
import PacketWire

/// What two hosts put on the wire, judged: by packets that the hosts themselves sent, before anyone meddles.
public final class WireRecord {
    struct Direction: Hashable {
        let from: Endpoint
        let to: Endpoint
    }

    private struct Stream {
        var origin: SequenceOrigin
        /// What was sent at every offset; 0xffff where nothing was.
        var sent: [UInt16] = []
        var fin: Int?
    }

    public private(set) var violations: [String] = []
    /// Data bytes that crossed the wire in clear.
    public private(set) var visibleSegments = 0
    /// The ends between which plaintext was seen.
    public private(set) var visibleEnds: Set<Endpoint> = []
    public private(set) var dataBytes = 0
    /// Whether plaintext is expected: a run that falls back.
    public var mayBePlain = false
    private var streams: [Direction: Stream] = [:]

    public init() {}

    /// How much of a stream was on the wire, by the port it went to.
    public func streamLength(to port: UInt16) -> Int { streams.first { $0.key.to.port == port }?.value.sent.count ?? 0 }

    func note(_ packet: WirePacket) {
        guard let parsed = packet.parsed else {
            violations.append("a host sent what is not a packet")
            return
        }
        if !PacketBuilder.hasValidChecksums(packet.bytes, parsed) { violations.append("bad checksum on the wire") }
        noteStream(packet, parsed)
        guard !parsed.payload.isEmpty else { return }
        dataBytes += parsed.payload.count
        if PatternStream.isVisible(in: packet.bytes.span.extracting(parsed.payload)) {
            visibleSegments += 1
            visibleEnds.insert(parsed.source)
            visibleEnds.insert(parsed.destination)
            if !mayBePlain { violations.append("plaintext on the wire: \(Trace.describe(packet))") }
        }
    }

    private func noteStream(_ packet: WirePacket, _ parsed: TCPPacket) {
        let key = Direction(from: parsed.source, to: parsed.destination)
        if parsed.flags.contains(.syn) {
            if streams[key]?.origin.initial != parsed.sequence {
                streams[key] = Stream(origin: SequenceOrigin(initial: parsed.sequence))
            }
            return
        }
        guard var stream = streams[key], parsed.sequenceLength > 0, !parsed.flags.contains(.rst) else { return }
        streams[key] = nil
        let start = stream.origin.offset(of: parsed.sequence, near: stream.sent.count)
        note(packet.bytes.span.extracting(parsed.payload), at: start, in: &stream)
        if parsed.flags.contains(.fin) {
            let fin = start + parsed.payload.count
            if let known = stream.fin, known != fin { violations.append("FIN at \(fin) and at \(known)") }
            stream.fin = fin
        }
        streams[key] = stream
    }

    private func note(_ data: Span<UInt8>, at start: Int, in stream: inout Stream) {
        guard !data.isEmpty else { return }
        guard start >= 0, start + data.count < 1 << 24 else {
            violations.append("data at offset \(start)")
            return
        }
        let missing = start + data.count - stream.sent.count
        if missing > 0 { stream.sent += repeatElement(0xffff, count: missing) }
        for index in 0..<data.count {
            let known = stream.sent[start + index]
            if known != 0xffff && known != UInt16(data[index]) {
                violations.append("offset \(start + index) retransmitted with other bytes")
                return
            }
            stream.sent[start + index] = UInt16(data[index])
        }
    }
}

/// A tap at a host's device.
public final class WireObserver: NetworkDevice {
    private let record: WireRecord
    private let next: any NetworkDevice

    public init(_ record: WireRecord, next: any NetworkDevice) {
        self.record = record
        self.next = next
    }

    public func transmit(_ packet: WirePacket, on network: EventQueue) {
        network.trace.note(network.time, "wire \(Trace.describe(packet))")
        record.note(packet)
        next.transmit(packet, on: network)
    }
}
