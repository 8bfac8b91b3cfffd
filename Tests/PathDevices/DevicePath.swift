/// The two directions of a path.
public enum PathDirection: Sendable, Hashable, CaseIterable {
    case toRight, toLeft

    public var opposite: PathDirection { self == .toRight ? .toLeft : .toRight }
}

/// A two-way path with a chain of devices in each direction.
public final class DevicePath {
    private struct Element {
        let specification: DeviceSpecification
        let device: ChainDevice
    }

    /// Takes the packets of one direction; stays the same whatever devices are behind it.
    private final class Entry: NetworkDevice {
        var first: any NetworkDevice = Sink.shared
        let packets = Counter()
        let bytes = Counter()

        func transmit(_ packet: WirePacket, on network: EventQueue) {
            packets.add()
            bytes.add(packet.bytes.count)
            first.transmit(packet, on: network)
        }
    }

    private var random: SeededRandom
    private var ends: [PathDirection: any NetworkDevice] = [:]
    private let entries: [PathDirection: Entry] = [.toRight: Entry(), .toLeft: Entry()]
    private var elements: [PathDirection: [Element]] = [:]
    private var counterTable: [PathDirection: [String: Counter]] = [:]

    /// Leads nowhere yet.
    public init(seed: UInt64) { random = SeededRandom(seed: seed) }

    /// - Parameters:
    ///   - right: takes what arrives at the right end.
    ///   - left: takes what arrives at the left end.
    public convenience init(seed: UInt64, right: any NetworkDevice, left: any NetworkDevice) {
        self.init(seed: seed)
        lead(right: right, left: left)
    }

    public func lead(right: any NetworkDevice, left: any NetworkDevice) {
        ends = [.toRight: right, .toLeft: left]
        connect()
    }

    /// Where packets of that direction enter.
    public func entry(_ direction: PathDirection) -> any NetworkDevice { entries[direction] ?? Sink.shared }

    /// Other devices from now on. A device that was there before stays, with other parameters and with all it keeps.
    public func set(_ direction: PathDirection, to specification: PathSpecification) {
        var old = elements[direction] ?? []
        elements[direction] = specification.devices.map { wanted in
            if let index = old.firstIndex(where: { $0.specification.name == wanted.name }) {
                let device = old.remove(at: index).device
                device.update(wanted)
                return Element(specification: wanted, device: device)
            }
            return Element(specification: wanted, device: make(wanted, direction))
        }
        connect()
    }

    /// What happened so far in one direction: `packets` and `bytes` that entered, and for each device what it did.
    public func counters(_ direction: PathDirection) -> [(name: String, value: UInt64)] {
        let entry = entries[direction]
        return [("packets", entry?.packets.value ?? 0), ("bytes", entry?.bytes.value ?? 0)]
            + DeviceKind.all.map { ($0.name, counterTable[direction]?[$0.name]?.value ?? 0) }
    }

    private func counter(_ name: String, _ direction: PathDirection) -> Counter {
        if let known = counterTable[direction]?[name] { return known }
        let new = Counter()
        counterTable[direction, default: [:]][name] = new
        return new
    }

    /// A partner stands where the box as a whole stands: as many devices behind it as the box has before it.
    private func connect() {
        for direction in PathDirection.allCases {
            var chain = (elements[direction] ?? []).map(\.device)
            for (index, element) in (elements[direction.opposite] ?? []).enumerated() {
                guard let partner = element.device.partner else { continue }
                chain.insert(partner, at: max(0, chain.count - index))
            }
            var next = ends[direction] ?? Sink.shared
            for device in chain.reversed() {
                device.next = next
                next = device
            }
            entries[direction]?.first = next
        }
    }

    private func make(_ specification: DeviceSpecification, _ direction: PathDirection) -> ChainDevice {
        let counter = counter(specification.name, direction)
        let random = self.random.fork()
        switch specification {
        case .delay(let time): return Delay(time, counter: counter)
        case .jitter(let limit): return Jitter(limit, random: random, counter: counter)
        case .rate(let rate, let queue): return RateLimit(rate, queue: queue, counter: counter)
        case .loss(let chance): return Loss(chance, run: 1, random: random, counter: counter)
        case .burst(let chance, let run): return Loss(chance, run: run, random: random, counter: counter)
        case .reorder(let chance, let extra):
            return Reordering(chance, extra: extra, random: random, counter: counter)
        case .duplicate(let chance): return Duplication(chance, random: random, counter: counter)
        case .corrupt(let chance):
            return Corruption(chance, fixesChecksum: false, random: random, counter: counter)
        case .tamper(let chance): return Corruption(chance, fixesChecksum: true, random: random, counter: counter)
        case .stripENO(let choice): return ENOStripper(choice, counter: counter)
        case .stripMPTCP(let choice): return MPTCPStripper(choice, counter: counter)
        case .clearOptions(let all): return OptionClearer(clearsAll: all, counter: counter)
        case .clampMSS(let size): return MSSClamp(size, counter: counter)
        case .split(let size): return Splitter(size, counter: counter)
        case .coalesce(let limit): return Joiner(limit: limit, counter: counter)
        case .renumber: return Renumberer(random: random, counter: counter)
        case .mtu(let mtu, let isSilent): return MTULimit(mtu, isSilent: isSilent, counter: counter)
        case .proxyAck: return ProxyAck(counter: counter)
        case .synProxy(let size): return SYNProxy(size: size, random: random, counter: counter)
        }
    }
}

extension DeviceSpecification {
    /// The word it is written with.
    public var name: String {
        switch self {
        case .delay: "delay"
        case .jitter: "jitter"
        case .rate: "rate"
        case .loss: "loss"
        case .burst: "burst"
        case .reorder: "reorder"
        case .duplicate: "duplicate"
        case .corrupt: "corrupt"
        case .tamper: "tamper"
        case .stripENO: "strip-eno"
        case .stripMPTCP: "strip-mptcp"
        case .clearOptions: "clear-options"
        case .clampMSS: "clamp-mss"
        case .split: "split"
        case .coalesce: "coalesce"
        case .renumber: "renumber"
        case .mtu: "mtu"
        case .proxyAck: "proxy-ack"
        case .synProxy: "syn-proxy"
        }
    }
}
