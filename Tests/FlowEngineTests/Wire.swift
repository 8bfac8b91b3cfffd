import FlowEngine
import OpenSSLProvider
import PacketWire
import Tcpcrypt
import Testing

/// Randomness that repeats from run to run.
final class CountingRandom: RandomSource {
    private var state: UInt64
    init(_ seed: UInt64) { state = seed }

    func bytes(_ count: Int) -> [UInt8] {
        (0..<count).map { _ in
            state = state &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
            return UInt8(truncatingIfNeeded: state >> 33)
        }
    }
}

/// One TCP segment as a test states it.
struct TestSegment {
    var source: Endpoint
    var destination: Endpoint
    var sequence: UInt32
    var acknowledgment: UInt32 = 0
    var flags: TCPFlags
    var window: UInt16 = 60_000
    var options: [UInt8] = []
    var payload: [UInt8] = []
    var urgentPointer: UInt16 = 0

    var bytes: [UInt8] {
        let template = HeaderTemplate.bytes(from: source, to: destination)
        guard let packet = try? TCPPacket(parsing: template.span) else { return [] }
        let parsed = TCPOptions(parsing: options.span)
        var output = [UInt8](repeating: 0, count: packet.length(options: parsed, payloadCount: payload.count))
        var target = output.mutableSpan
        target.copy(payload.span, at: target.count - payload.count)
        packet.write(
            TCPHeader(
                sequence: SequenceNumber(sequence), acknowledgment: SequenceNumber(acknowledgment), flags: flags,
                window: window, urgentPointer: urgentPointer), options: parsed, template: template.span,
            checksum: .full, into: &target)
        return output
    }
}

/// What a packet says, for expectations.
struct Seen: CustomStringConvertible {
    var packet: TCPPacket
    var options: TCPOptions
    var payload: [UInt8]
    var raw: [UInt8]

    init?(_ raw: [UInt8]) {
        guard let packet = try? TCPPacket(parsing: raw.span) else { return nil }
        self.packet = packet
        self.raw = raw
        options = TCPOptions(packet, of: raw.span)
        payload = Array(raw[packet.payload])
    }

    var sequence: UInt32 { packet.sequence.rawValue }
    var acknowledgment: UInt32 { packet.acknowledgment.rawValue }
    var hasENO: Bool { options.contains(TCPOptionKind.encryptionNegotiation) }
    var description: String {
        "\(packet.source)>\(packet.destination) \(packet.flags.rawValue) \(sequence) ack \(acknowledgment) \(payload.count)"
    }
}

/// One engine with the packets it let out, towards the wire and towards its kernel.
final class TestHost {
    var engine: Engine
    var output = Output()
    var toWire: [[UInt8]] = []
    var toKernel: [[UInt8]] = []
    var actions: [Action] = []
    private var pending: [UInt32: (Direction, [UInt8])] = [:]
    private var number: UInt32 = 0
    var now = Instant(nanoseconds: 1_000_000_000)
    /// What the kernel's route says.
    var mtu = 1500
    /// Leaves what packets make due to ``advance(milliseconds:)``.
    var isPatient = false

    init(
        seed: UInt64, shared: SharedState? = nil, crypto: any CryptoProvider = OpenSSLProvider(),
        keyLog: (any KeyLog)? = nil,
        _ configure: (inout EngineConfiguration) -> Void = { _ in }
    ) {
        var configuration = EngineConfiguration()
        configure(&configuration)
        engine = Engine(
            configuration: configuration, crypto: crypto, random: CountingRandom(seed), shared: shared,
            keyLog: keyLog)
    }

    func feed(_ bytes: [UInt8], _ direction: Direction, isGSO: Bool = false) {
        number += 1
        pending[number] = (direction, bytes)
        engine.receive(
            bytes.span,
            PacketMetadata(
                id: PacketID(queue: 0, number: number), direction: direction, isGSO: isGSO, mtu: mtu,
                isChecksumVerified: false),
            now: now, into: &output)
        drain()
        // What a packet made due is done when the packets that are there have been handled.
        if !isPatient, let due = engine.nextDeadline, due <= now { advance(milliseconds: 0) }
    }

    func advance(milliseconds: Int64) {
        now = now.adding(milliseconds: milliseconds)
        engine.handleDeadlines(now: now, into: &output)
        drain()
    }

    func drain() {
        for action in output.actions {
            actions.append(action)
            switch action {
            case .accept(let id, _): pass(id, nil)
            case .replace(let id, let range, _): pass(id, Array(output.bytes[range]))
            case .drop(let id): pending[id.number] = nil
            case .inject(let range, _): toWire.append(Array(output.bytes[range]))
            case .injectLocal(let range): toKernel.append(Array(output.bytes[range]))
            default: break
            }
        }
        output.reset()
    }

    private func pass(_ id: PacketID, _ replacement: [UInt8]?) {
        guard let (direction, bytes) = pending.removeValue(forKey: id.number) else { return }
        switch direction {
        case .outbound: toWire.append(replacement ?? bytes)
        case .inbound:
            toKernel.append(replacement ?? bytes)
            let length = replacement?.count ?? 0
            if length > bytes.count { Issue.record("a verdict lengthens an inbound packet") }
        }
    }

    var held: Int { pending.count }

    func takeWire() -> [[UInt8]] {
        defer { toWire = [] }
        return toWire
    }

    func takeKernel() -> [Seen] {
        defer { toKernel = [] }
        return toKernel.compactMap { Seen($0) }
    }
}
