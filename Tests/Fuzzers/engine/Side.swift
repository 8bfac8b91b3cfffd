import FlowEngine
import PacketWire
import Tcpcrypt

/// One host: an engine, the packets whose verdicts are due, and what a kernel there would roughly know.
final class Side {
    private var engine: Engine
    private var output = Output(capacity: 4096)
    private let local: Endpoint
    private let remote: Endpoint
    private let teps: [TEP]
    private let seed: UInt64
    private var pending: [PacketID: (bytes: [UInt8], direction: Direction)] = [:]
    private var number: UInt32 = 0
    private var journal: Set<CondemnedFlow> = []
    /// Next sequence number this kernel sends and expects, in plaintext bytes.
    private var next: UInt32 = 1000
    private var expected: UInt32 = 0
    /// What left for the other side and was not collected yet.
    var sent: [[UInt8]] = []

    init(local: Endpoint, remote: Endpoint, _ teps: [TEP], seed: UInt64) {
        self.local = local
        self.remote = remote
        self.teps = teps
        self.seed = seed
        engine = Self.makeEngine(teps, seed)
    }

    private static func makeEngine(_ teps: [TEP], _ seed: UInt64) -> Engine {
        var configuration = EngineConfiguration()
        configuration.teps = teps
        return Engine(configuration: configuration, crypto: ToyCrypto(), random: ToyRandom(seed))
    }

    // MARK: The kernel

    /// A packet this host's kernel might send, more or less.
    func kernelPacket(_ choices: inout Choices) -> [UInt8] {
        let shape = choices.byte()
        var sequence = next
        var flags: TCPFlags = [.ack]
        var payload: [UInt8] = []
        switch shape & 7 {
        case 0: flags = [.syn]
        case 1: flags = [.syn, .ack]
        case 2: payload = [UInt8](repeating: 0x50, count: Int(choices.byte()) * 8)
        case 3: flags = [.ack, .fin]
        case 4: flags = choices.byte() & 1 == 0 ? [.rst] : [.rst, .ack]
        case 5: payload = choices.take(choices.below(100))
        case 6: sequence &-= UInt32(choices.word())
        default: flags = TCPFlags(rawValue: choices.byte())
        }
        let options = self.options(shape, flags, payload.count, &choices)
        if flags.contains(.syn) { sequence = 1000 }
        let packet = build(sequence, flags, options, payload)
        if shape & 7 != 6 {
            next = sequence &+ UInt32(payload.count) &+ (flags.contains(.syn) || flags.contains(.fin) ? 1 : 0)
        }
        return packet
    }

    private func options(
        _ shape: UInt8, _ flags: TCPFlags, _ count: Int, _ choices: inout Choices
    ) -> [UInt8] {
        let mss: [UInt8] = [2, 4, 0x05, 0xb4]
        let common = mss + [4, 2, 1, 3, 3, 7]
        switch shape >> 3 & 7 {
        case 0: return flags.contains(.syn) ? common : []
        case 1: return (flags.contains(.syn) ? common : []) + [8, 10, 0, 0, 0, 1, 0, 0, 0, 2]
        case 2:
            // MP_CAPABLE of the right form for this segment.
            let key = [UInt8](repeating: UInt8(truncatingIfNeeded: seed), count: 8)
            let other = [UInt8](repeating: UInt8(truncatingIfNeeded: 3 - seed), count: 8)
            if flags == [.syn] { return mss + [30, 4, 0x01, 0x01] }
            if flags == [.syn, .ack] { return mss + [30, 12, 0x01, 0x01] + key }
            return [30, 20, 0x01, 0x01] + key + other
        case 3: return mss + [30, 12, 0x10, 1] + choices.take(4) + [1, 2, 3, 4]
        case 4: return [1, 1, 5, 10] + choices.take(8)
        case 5: return [30, 8, 0x20, 1] + choices.take(4)
        case 6: return Array(choices.take(choices.below(40)))
        default: return flags.contains(.syn) ? mss : signals(choices.byte(), count)
        }
    }

    /// What an MPTCP kernel says of `count` bytes of data, or besides (RFC 8684 section 3).
    private func signals(_ what: UInt8, _ count: Int) -> [UInt8] {
        let bytes = { (value: UInt32) in (0..<4).map { UInt8(truncatingIfNeeded: value >> UInt32(24 - 8 * $0)) } }
        let acknowledgment = bytes(expected &+ UInt32(what & 0xf0))
        let isAlone = count == 0
        let place = bytes(next) + bytes(isAlone ? 0 : next &- 999)
        let length = [UInt8(truncatingIfNeeded: count >> 8), UInt8(truncatingIfNeeded: count)]
        let long: [UInt8] = [0, 0, 0, UInt8(truncatingIfNeeded: seed)]
        switch what & 7 {
        case 0: return [30, 18, 0x20, 0x05] + acknowledgment + place + length
        case 1: return [30, 26, 0x20, 0x0f] + long + acknowledgment + long + place + length
        case 2: return [30, 20, 0x20, 0x05] + acknowledgment + place + length + [what, 1]
        case 3: return [30, 18, 0x20, 0x15] + acknowledgment + place + (isAlone ? [0, 1] : length)
        case 4: return [30, 8, 0x31, 2, 10, 0, 0, what] + [30, 8, 0x20, 0x01] + acknowledgment
        case 5: return [30, 3, 0x51, 30, 4, 0x40, what] + [30, 12, 0x60, 0] + long + acknowledgment
        case 6 where what & 0x80 == 0:
            return [30, 12, 0x70, 0] + [UInt8](repeating: UInt8(truncatingIfNeeded: 3 - seed), count: 8)
        case 6: return [30, 4, 0x80, what & 7]
        default: return [30, 8, 0x20, 0x01] + acknowledgment
        }
    }

    private func build(_ sequence: UInt32, _ flags: TCPFlags, _ options: [UInt8], _ payload: [UInt8]) -> [UInt8] {
        let template = HeaderTemplate.bytes(from: local, to: remote)
        guard let parsed = try? TCPPacket(parsing: template.span) else { fatalError("a template parses") }
        let header = TCPHeader(
            sequence: SequenceNumber(sequence), acknowledgment: SequenceNumber(flags == [.syn] ? 0 : expected),
            flags: flags, window: 60_000)
        return rewrite(
            parsed, header, TCPOptions(parsing: options.span), payload: payload, template: template)
    }

    private func arrive(_ bytes: [UInt8]) {
        guard let packet = try? TCPPacket(parsing: bytes.span) else { return }
        let end = packet.sequence + packet.sequenceLength
        if packet.flags.contains(.syn) || end.distance(from: SequenceNumber(expected)) > 0 { expected = end.rawValue }
    }

    // MARK: The engine

    func receive(_ bytes: [UInt8], _ direction: Direction, _ now: Instant) {
        number += 1
        let id = PacketID(queue: 0, number: number)
        pending[id] = (bytes, direction)
        output.reset()
        let metadata = PacketMetadata(id: id, direction: direction, mark: 1, isGSO: bytes.count > 1500, mtu: 1500)
        engine.receive(bytes.span, metadata, now: now, into: &output)
        drain()
    }

    func handleDeadlines(_ now: Instant) {
        output.reset()
        engine.handleDeadlines(now: now, into: &output)
        drain()
    }

    func shutDown(_ now: Instant) {
        output.reset()
        engine.shutDown(now: now, into: &output)
        drain()
    }

    func reconcile(_ now: Instant, isAlive: Bool) {
        output.reset()
        engine.reconcile(
            sockets: isAlive ? [FlowTuple(local: local, remote: remote)] : [], now: now, into: &output)
        drain()
    }

    /// The daemon dies and another one starts: what was pending is lost, the journal is not.
    func restart(_ now: Instant) {
        pending = [:]
        engine = Self.makeEngine(teps, seed &+ 10)
        engine.condemn(Array(journal), now: now)
        handleDeadlines(now)
    }

    func report(_ now: Instant) {
        for connection in engine.connections() { require(!connection.subflows.isEmpty, "a connection has subflows") }
        _ = engine.sessions(now: now)
        _ = engine.counters
        _ = engine.nextDeadline
    }

    func flush() { engine.flushSessions() }

    private func drain() {
        for action in output.actions {
            switch action {
            case .accept(let id, _): settle(id, nil)
            case .replace(let id, let range, _): settle(id, range)
            case .drop(let id): require(pending.removeValue(forKey: id) != nil, "one verdict for each packet")
            case .inject(let range, _): sent.append(whole(range))
            case .injectLocal(let range): arrive(whole(range))
            case .journalAdd(let flow):
                journal = journal.filter { $0.tuple != flow.tuple }
                journal.insert(flow)
            case .journalRemove(let tuple): journal = journal.filter { $0.tuple != tuple }
            case .destroySocket, .inquire, .log: break
            }
        }
    }

    private func settle(_ id: PacketID, _ range: Range<Int>?) {
        guard let packet = pending.removeValue(forKey: id) else { fatalError("one verdict for each packet") }
        let bytes = range.map { whole($0) } ?? packet.bytes
        if packet.direction == .outbound { sent.append(bytes) } else { arrive(bytes) }
    }

    private func whole(_ range: Range<Int>) -> [UInt8] {
        require(range.lowerBound >= 0 && range.upperBound <= output.bytes.count, "the range lies in the output")
        let bytes = Array(output.bytes[range])
        if let error = ICMPError(parsing: bytes.span) {
            require(
                error.length == bytes.count && error.hasValidChecksum(in: bytes.span), "an error is translated whole")
            return bytes
        }
        guard let packet = try? TCPPacket(parsing: bytes.span) else { fatalError("what is emitted is a TCP packet") }
        require(packet.payload.upperBound == bytes.count, "what is emitted has its IP length")
        return bytes
    }
}
