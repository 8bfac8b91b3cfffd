import FlowEngine
import PacketWire

/// What a path does to packets.
public struct PathConditions: Sendable {
    public var loss = 0.0
    public var duplication = 0.0
    public var delayMicroseconds = 200
    /// The chance that a packet is held up by up to ``reorderingMicroseconds``.
    public var reordering = 0.0
    public var reorderingMicroseconds = 0
    /// The chance that a data segment is cut somewhere on the way.
    public var resegmentation = 0.0
    /// Whether the receiving stack joins adjacent segments.
    public var coalesces = false
    /// Bytes per millisecond; 0 for no limit.
    public var rate = 0
    /// Handshake segments lost at most: more and the engine rightly gives up on ENO.
    public var lossesOfSYN = 1
    /// Losses at chosen places, beside those by chance.
    public var plannedLosses: [PlannedLoss] = []
    /// Whether MP_CAPABLE SYNs and their answers always arrive: a stranger gets ENO in the first of them only.
    public var sparesCapable = false

    public init() {}
}

/// Loss, duplication, delay, reordering and a rate limit.
public final class LossyLine: NetworkDevice {
    private let conditions: PathConditions
    private var random: SeededRandom
    private let next: any NetworkDevice
    private var synsLost = 0
    private var busyUntil: Int64 = 0

    public init(_ conditions: PathConditions, random: SeededRandom, next: any NetworkDevice) {
        self.conditions = conditions
        self.random = random
        self.next = next
    }

    public func transmit(_ packet: WirePacket, on network: EventQueue) {
        if random.chance(conditions.loss), mayLose(packet) {
            network.trace.note(network.time, "lost \(Trace.describe(packet))")
            return
        }
        network.schedule(after: delay(packet, network.time), packet, to: next)
        if random.chance(conditions.duplication) {
            network.schedule(after: delay(packet, network.time) + 1000, packet, to: next)
        }
    }

    private func mayLose(_ packet: WirePacket) -> Bool {
        guard let parsed = packet.parsed, parsed.flags.contains(.syn) else { return true }
        if conditions.sparesCapable {
            switch TCPOptions(parsed, of: packet.bytes.span).mptcpOption(isSYN: true) {
            case .capableSYN, .capableSYNACK: return false
            default: break
            }
        }
        synsLost += 1
        return synsLost <= conditions.lossesOfSYN
    }

    private func delay(_ packet: WirePacket, _ now: Int64) -> Int64 {
        var delay = Int64(conditions.delayMicroseconds) * 1000
        if conditions.rate > 0 {
            let start = max(now, busyUntil)
            busyUntil = start + Int64(packet.bytes.count) * 1_000_000 / Int64(conditions.rate)
            delay += busyUntil - now
        }
        if random.chance(conditions.reordering) {
            delay += Int64(random.int(0...max(1, conditions.reorderingMicroseconds))) * 1000
        }
        return delay
    }
}

/// Cuts data segments at arbitrary places.
public final class Resegmenter: NetworkDevice {
    private let rate: Double
    private var random: SeededRandom
    private let next: any NetworkDevice

    public init(rate: Double, random: SeededRandom, next: any NetworkDevice) {
        self.rate = rate
        self.random = random
        self.next = next
    }

    public func transmit(_ packet: WirePacket, on network: EventQueue) {
        guard random.chance(rate), let parsed = packet.parsed, parsed.payload.count > 1,
            !parsed.flags.contains(.syn)
        else { return next.transmit(packet, on: network) }
        let places = Set((0..<random.int(1...3)).map { _ in random.int(1...parsed.payload.count - 1) })
        for piece in Segmentation.cut(packet, parsed, at: places.sorted()) { next.transmit(piece, on: network) }
    }
}

/// Joins adjacent segments that arrive shortly after another, as GRO does.
public final class Coalescer: NetworkDevice {
    private let next: any NetworkDevice
    private var pending: [WirePacket] = []
    private let limit: Int

    /// - Parameter limit: segments joined at most.
    public init(limit: Int = 44, next: any NetworkDevice) {
        self.limit = limit
        self.next = next
    }

    public func transmit(_ packet: WirePacket, on network: EventQueue) {
        if let last = pending.last, let joined = Segmentation.join(last, packet) {
            pending[pending.count - 1] = joined
        } else {
            pending.append(packet)
            if pending.count == 1 { network.schedule(after: 60_000, wake: self) }
        }
        if let last = pending.last, last.bytes.count > limit * 1400 { wake(on: network) }
    }

    public func wake(on network: EventQueue) {
        let packets = pending
        pending = []
        for packet in packets { next.transmit(packet, on: network) }
    }
}
