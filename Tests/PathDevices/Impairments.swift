import PacketWire

/// Every packet arrives later by the same time.
final class Delay: ChainDevice {
    private var time: Int64

    init(_ time: Int64, counter: Counter) {
        self.time = time
        super.init(counter: counter)
    }

    override func transmit(_ packet: WirePacket, on network: EventQueue) {
        network.schedule(after: time, packet, to: next)
    }

    override func update(_ specification: DeviceSpecification) {
        if case .delay(let time) = specification { self.time = time }
    }
}

/// Every packet arrives later by a time of its own, but none overtakes another.
final class Jitter: ChainDevice {
    private var limit: Int64
    private var random: SeededRandom
    private var latest: Int64 = 0

    init(_ limit: Int64, random: SeededRandom, counter: Counter) {
        self.limit = limit
        self.random = random
        super.init(counter: counter)
    }

    override func transmit(_ packet: WirePacket, on network: EventQueue) {
        latest = max(latest, network.time &+ Int64(random.int(0...Int(limit))))
        network.schedule(after: latest &- network.time, packet, to: next)
    }

    override func update(_ specification: DeviceSpecification) {
        if case .jitter(let limit) = specification { self.limit = limit }
    }
}

/// A narrow link with a queue before it; what finds the queue full is dropped.
final class RateLimit: ChainDevice {
    private var rate: BitRate
    private var queue: Int
    /// When the last bit of what waits will have left.
    private var busyUntil: Int64 = 0

    init(_ rate: BitRate, queue: Int?, counter: Counter) {
        self.rate = rate
        self.queue = queue ?? rate.defaultQueue
        super.init(counter: counter)
    }

    override func transmit(_ packet: WirePacket, on network: EventQueue) {
        let start = max(network.time, busyUntil)
        guard rate.bytes(in: start &- network.time) &+ packet.bytes.count <= queue else {
            return counter.add()
        }
        busyUntil = start &+ rate.time(for: packet.bytes.count)
        network.schedule(after: busyUntil &- network.time, packet, to: next)
    }

    override func update(_ specification: DeviceSpecification) {
        guard case .rate(let rate, let queue) = specification else { return }
        self.rate = rate
        self.queue = queue ?? rate.defaultQueue
    }
}

/// Packets vanish, each for itself or in runs (a Gilbert model: within a run all are lost). A run ends with a pause as well:
/// otherwise it would swallow a lonely retransmission time after time, for minutes, as no real fault does.
final class Loss: ChainDevice {
    private var chance: Double
    /// The chance that a run ends with the packet just lost; 1 for single losses.
    private var end: Double
    private var random: SeededRandom
    private var isInRun = false
    private var latest: Int64 = 0
    private static let pause: Int64 = 20_000_000

    init(_ chance: Double, run: Double, random: SeededRandom, counter: Counter) {
        self.chance = chance
        end = 1 / max(1, run)
        self.random = random
        super.init(counter: counter)
    }

    override func transmit(_ packet: WirePacket, on network: EventQueue) {
        if !isInRun || network.time &- latest > Self.pause { isInRun = random.chance(chance) }
        latest = network.time
        guard isInRun else { return next.transmit(packet, on: network) }
        isInRun = !random.chance(end)
        counter.add()
        network.trace.note(network.time, "lost \(Trace.describe(packet))")
    }

    override func update(_ specification: DeviceSpecification) {
        switch specification {
        case .loss(let chance): self.chance = chance
        case .burst(let chance, let run): (self.chance, end) = (chance, 1 / max(1, run))
        default: break
        }
    }
}

/// Some packets arrive later by a fixed time, so that those behind overtake them.
final class Reordering: ChainDevice {
    private var chance: Double
    private var extra: Int64
    private var random: SeededRandom

    init(_ chance: Double, extra: Int64, random: SeededRandom, counter: Counter) {
        self.chance = chance
        self.extra = extra
        self.random = random
        super.init(counter: counter)
    }

    override func transmit(_ packet: WirePacket, on network: EventQueue) {
        guard random.chance(chance) else { return next.transmit(packet, on: network) }
        counter.add()
        network.schedule(after: extra, packet, to: next)
    }

    override func update(_ specification: DeviceSpecification) {
        if case .reorder(let chance, let extra) = specification { (self.chance, self.extra) = (chance, extra) }
    }
}

/// Some packets arrive twice.
final class Duplication: ChainDevice {
    private var chance: Double
    private var random: SeededRandom

    init(_ chance: Double, random: SeededRandom, counter: Counter) {
        self.chance = chance
        self.random = random
        super.init(counter: counter)
    }

    override func transmit(_ packet: WirePacket, on network: EventQueue) {
        next.transmit(packet, on: network)
        guard random.chance(chance) else { return }
        counter.add()
        next.transmit(packet, on: network)
    }

    override func update(_ specification: DeviceSpecification) {
        if case .duplicate(let chance) = specification { self.chance = chance }
    }
}

/// Some packets arrive with a byte changed: behind the IP header and noticed by the checksum, or in the data of TCP
/// and with the checksum made right, which only cryptography notices.
final class Corruption: ChainDevice {
    private var chance: Double
    private let fixesChecksum: Bool
    private var random: SeededRandom

    init(_ chance: Double, fixesChecksum: Bool, random: SeededRandom, counter: Counter) {
        self.chance = chance
        self.fixesChecksum = fixesChecksum
        self.random = random
        super.init(counter: counter)
    }

    override func transmit(_ packet: WirePacket, on network: EventQueue) {
        guard random.chance(chance), let changed = fixesChecksum ? tampered(packet) : corrupted(packet) else {
            return next.transmit(packet, on: network)
        }
        counter.add()
        network.trace.note(network.time, "altered \(Trace.describe(packet))")
        next.transmit(changed, on: network)
    }

    private func corrupted(_ packet: WirePacket) -> WirePacket? {
        guard let first = packet.bytes.first else { return nil }
        let header = first >> 4 == 6 ? 40 : Int(first & 0xf) * 4
        guard header < packet.bytes.count else { return nil }
        var changed = packet
        changed.bytes[random.int(header...packet.bytes.count - 1)] ^= UInt8(random.int(1...255))
        changed.isForged = true
        return changed
    }

    private func tampered(_ packet: WirePacket) -> WirePacket? {
        guard let parsed = packet.parsed, !parsed.payload.isEmpty else { return nil }
        var changed = packet
        let place = random.int(parsed.payload.lowerBound...parsed.payload.upperBound - 1)
        changed.bytes[place] ^= UInt8(random.int(1...255))
        changed.bytes = PacketBuilder.withChecksum(changed.bytes, parsed)
        changed.isForged = true
        return changed
    }

    override func update(_ specification: DeviceSpecification) {
        switch specification {
        case .corrupt(let chance), .tamper(let chance): self.chance = chance
        default: break
        }
    }
}
