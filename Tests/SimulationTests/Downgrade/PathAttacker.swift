import FlowEngine
import PacketWire
import TestSupport

/// Somebody between the two hosts, through whose hands every packet goes, and who has addresses of their own.
///
/// What they do with which packet is chosen by somebody else: ``choose``.
final class PathAttacker {
    /// A connection attempt as it went by.
    final class Handshake {
        let opener: Endpoint
        let acceptor: Endpoint
        let openerHost: Int
        let openerISN: UInt32
        var acceptorISN: UInt32?
        /// What the opener asked for, and what its SYN says when it arrives.
        let kind: Kind
        var kindAtAcceptor: Kind
        let syn: Forgery
        var synAck: Forgery?
        var thirdAck: Forgery?
        /// Init messages and frames.
        var messages: [(stage: Stage, segment: Forgery, isFromOpener: Bool)] = []
        /// Where the acceptor sees the opener.
        var apparentOpener: Endpoint
        /// Whose acceptor answers, where two were crossed.
        weak var crossed: Handshake?
        /// The acceptor gets nothing; somebody answers in its name.
        var impostor: Impostor?
        var openerKey: UInt64?
        var acceptorKey: UInt64?
        /// The next sequence numbers on the wire.
        var next: (opener: UInt32, acceptor: UInt32)

        init(_ syn: Forgery, host: Int) {
            opener = syn.source
            acceptor = syn.destination
            apparentOpener = syn.source
            openerHost = host
            openerISN = syn.header.sequence.rawValue
            kind = Kind(syn)
            kindAtAcceptor = kind
            self.syn = syn
            next = (openerISN &+ 1, 0)
        }
    }

    enum Kind {
        case tcp, capable, join

        init(_ syn: Forgery) { self = syn.isJoin ? .join : syn.isCapable ? .capable : .tcp }
    }

    /// An end of a connection that the attacker makes up.
    struct Impostor {
        var isn: UInt32
        var eno: [UInt8]?
        var hasSentData = false
    }

    struct Path: Hashable {
        let a: Endpoint
        let b: Endpoint
    }

    let simulation: Simulation
    var random: SeededRandom
    /// What to do with this packet; empty to let it go on.
    var choose: (Forgery, Stage) -> [Move] = { _, _ in [] }
    /// Sees what the hosts themselves send.
    var watch: (WirePacket, Int) -> Void = { _, _ in }
    /// Tokens of connections at a host: they follow from keys that were read.
    var tokens: (Int) -> [UInt32] = { _ in [] }
    /// Those of connections that are plain, as anybody can see.
    var plainTokens: (Int) -> [UInt32] = { _ in [] }
    /// How often each attack was made, by packet.
    private(set) var made: [String: Int] = [:]
    private(set) var handshakes: [Handshake] = []
    private var byPath: [Path: Handshake] = [:]
    var impostors: [Path: Impostor] = [:]
    private var nextPort: UInt16 = 20_000
    /// Kept back until the next packet has passed.
    private var overtaken: (packet: WirePacket, host: Int)?
    private var ports: [Port] = []

    /// The line out of one host.
    private final class Port: NetworkDevice {
        private unowned let attacker: PathAttacker
        private let host: Int

        init(_ attacker: PathAttacker, _ host: Int) {
            self.attacker = attacker
            self.host = host
        }

        func transmit(_ packet: WirePacket, on network: EventQueue) {
            network.trace.note(network.time, "wire \(Trace.describe(packet))")
            attacker.take(packet, from: host)
        }
    }

    init(_ simulation: Simulation, random: SeededRandom) {
        self.simulation = simulation
        self.random = random
        for (index, host) in [simulation.client, simulation.server].enumerated() {
            let port = Port(self, index)
            ports.append(port)
            host.egress = EgressDevice(mtu: 1500, next: port)
        }
    }

    /// Leaves off, and forgets whose packets went where.
    func rest() {
        choose = { _, _ in [] }
        if let kept = overtaken { deliver(kept.packet, to: kept.host) }
        overtaken = nil
        for handshake in handshakes {
            handshake.crossed = nil
            handshake.impostor = nil
            handshake.apparentOpener = handshake.opener
            handshake.kindAtAcceptor = handshake.kind
        }
        impostors = [:]
    }

    func note(_ move: Move, _ stage: Stage) {
        simulation.network.trace.note(simulation.network.time, "attack: \(move), \(stage.rawValue)")
        made[Self.key(move.attack, stage), default: 0] += 1
    }

    static func key(_ attack: Attack, _ stage: Stage) -> String {
        attack.isBeside ? attack.rawValue : "\(attack.rawValue), \(stage.rawValue)"
    }

    // MARK: Addresses

    func host(_ index: Int) -> SimulatedHost { index == 0 ? simulation.client : simulation.server }

    /// Whose address it is; nil for the attacker's.
    func owner(of address: IPAddress) -> Int? {
        (0..<2).first { host in (0..<8).contains { simulation.address(self.host(host), $0) == address } }
    }

    /// An endpoint of the attacker's own, or at an address of a host's that the attacker is in front of.
    func endpoint(of host: Int? = nil) -> Endpoint {
        nextPort += 1
        if let host { return Endpoint(address: simulation.address(self.host(host), 5), port: nextPort) }
        return Endpoint(address: address, port: nextPort)
    }

    /// The attacker's.
    var address: IPAddress { simulation.address(simulation.client, 9) }

    // MARK: Packets

    func deliver(_ packet: WirePacket, to host: Int, after microseconds: Int = 0) {
        let host = self.host(host)
        simulation.network.schedule(after: Int64(1000 + microseconds) * 1000, packet, to: HostPort(host))
    }

    /// Sends it to whoever has the address.
    func send(_ segment: Forgery, after microseconds: Int = 0) {
        guard let host = owner(of: segment.destination.address) else { return }
        deliver(segment.packet, to: host, after: microseconds)
    }

    private func take(_ packet: WirePacket, from host: Int) {
        watch(packet, host)
        guard let segment = Forgery(packet) else { return }
        record(segment, from: host)
        let stage = segment.stage
        let moves = choose(segment, stage)
        guard let handshake = byPath[Path(a: segment.source, b: segment.destination)] else {
            for move in moves where move.attack.isBeside && performBeside(move, segment, nil) { note(move, stage) }
            return passOn(segment, packet, nil, isAltered: false)
        }
        var altered = segment
        var fate = Fate.passes
        for move in moves {
            guard let result = perform(move, &altered, stage, handshake) else { continue }
            note(move, stage)
            fate = max(fate, result)
        }
        switch fate {
        case .passes, .altered: passOn(altered, packet, handshake, isAltered: fate == .altered)
        case .late:
            passOn(altered, packet, handshake, isAltered: true, after: random.pick([3_000, 300_000, 3_000_000]))
        case .overtaken: keepBack(altered, handshake)
        case .gone: break
        }
    }

    enum Fate: Int, Comparable {
        case passes, altered, late, overtaken, gone

        static func < (a: Fate, b: Fate) -> Bool { a.rawValue < b.rawValue }
    }

    private func keepBack(_ segment: Forgery, _ handshake: Handshake) {
        let kept = overtaken
        let routed = route(segment, handshake)
        if let host = owner(of: routed.destination.address) { overtaken = (routed.packet, host) }
        if let kept { deliver(kept.packet, to: kept.host) }
    }

    private func passOn(
        _ segment: Forgery, _ packet: WirePacket, _ handshake: Handshake?, isAltered: Bool, after microseconds: Int = 0
    ) {
        defer {
            if let kept = overtaken { deliver(kept.packet, to: kept.host, after: 100) }
            overtaken = nil
        }
        let path = Path(a: segment.source, b: segment.destination)
        if let impostor = handshake?.impostor ?? impostors[path],
            handshake?.impostor == nil || isFromOpener(segment, handshake)
        {
            return answer(segment, impostor, handshake, path)
        }
        guard let handshake else {
            if let host = owner(of: segment.destination.address) { deliver(packet, to: host, after: microseconds) }
            return
        }
        let routed = route(segment, handshake)
        let isSame =
            !isAltered && routed.source == segment.source && routed.destination == segment.destination
            && handshake.kind == handshake.kindAtAcceptor && handshake.crossed == nil
        guard let host = owner(of: routed.destination.address) else { return }
        deliver(isSame ? packet : routed.packet, to: host, after: microseconds)
    }

    func isFromOpener(_ segment: Forgery, _ handshake: Handshake?) -> Bool { segment.source == handshake?.opener }

    // MARK: What goes by

    private func record(_ segment: Forgery, from host: Int) {
        let path = Path(a: segment.source, b: segment.destination)
        if segment.stage == .syn {
            guard byPath[path]?.openerISN != segment.header.sequence.rawValue else { return }
            let handshake = Handshake(segment, host: host)
            handshakes.append(handshake)
            byPath[path] = handshake
            byPath[Path(a: path.b, b: path.a)] = handshake
            return
        }
        guard let handshake = byPath[path] else { return }
        let isFromOpener = segment.source != handshake.acceptor
        let end = segment.header.sequence.rawValue &+ UInt32(segment.payload.count)
        let key = segment.isCapable ? segment.mptcp.flatMap { $0.count >= 12 ? $0.span.loadUInt64(at: 4) : nil } : nil
        switch segment.stage {
        case .synAck:
            handshake.synAck = segment
            handshake.acceptorISN = segment.header.sequence.rawValue
            handshake.next.acceptor = segment.header.sequence.rawValue &+ 1
            handshake.acceptorKey = key ?? handshake.acceptorKey
            return
        case .thirdAck where isFromOpener, .keyExchange where isFromOpener:
            handshake.openerKey = key ?? handshake.openerKey
            handshake.thirdAck = handshake.thirdAck ?? segment
        default: break
        }
        if !segment.payload.isEmpty, handshake.messages.count < 40 {
            let stage: Stage = segment.stage == .keyExchange ? .keyExchange : .frame
            handshake.messages.append((stage, segment, isFromOpener))
        }
        if isFromOpener { handshake.next.opener = end } else { handshake.next.acceptor = end }
    }

    /// Makes the packets to `endpoint` those of a handshake that the attacker passes on.
    func lead(_ endpoint: Endpoint, _ acceptor: Endpoint, to handshake: Handshake) {
        byPath[Path(a: acceptor, b: endpoint)] = handshake
    }

    // MARK: Handshakes that become others

    /// Where a packet goes, and as what.
    private func route(_ segment: Forgery, _ handshake: Handshake) -> Forgery {
        var routed = segment
        let other = handshake.crossed ?? handshake
        let shift = other.openerISN &- handshake.openerISN
        if isFromOpener(segment, handshake) {
            routed.source = other.apparentOpener
            routed.destination = other.acceptor
            // Before the two were crossed each SYN went its own way.
            guard segment.stage != .syn else {
                routed.source = handshake.apparentOpener
                routed.destination = handshake.acceptor
                return routed
            }
            routed.header.sequence = routed.header.sequence + Int(Int32(bitPattern: shift))
            convert(&routed, to: other.kindAtAcceptor, other)
        } else {
            routed.source = other.acceptor
            routed.destination = other.opener
            routed.header.acknowledgment = routed.header.acknowledgment + Int(Int32(bitPattern: shift))
            if segment.stage == .synAck { convert(&routed, to: other.kind, handshake) }
        }
        return routed
    }

    /// Gives a SYN-ACK or third ACK the MPTCP option that its receiver waits for.
    private func convert(_ segment: inout Forgery, to kind: Kind, _ handshake: Handshake) {
        let isThird = segment.isJoin || segment.isCapable
        switch (segment.stage, kind) {
        case (.synAck, .join) where !segment.isJoin:
            segment.mptcp = MPTCPForgery.joinSYNACK(random: UInt32(truncatingIfNeeded: random.next()))
        case (.synAck, .capable) where !segment.isCapable:
            segment.mptcp = MPTCPForgery.capableSYNACK(key: random.next())
        case (.thirdAck, .join) where !segment.isJoin, (.keyExchange, .join) where !segment.isJoin,
            (.frame, .join) where isThird && !segment.isJoin:
            segment.mptcp = MPTCPForgery.joinACK
        case (.thirdAck, .capable) where !segment.isCapable:
            segment.mptcp = MPTCPForgery.capableACK(sender: random.next(), receiver: handshake.acceptorKey ?? 0)
        case (.synAck, .tcp), (.thirdAck, .tcp): segment.mptcp = nil
        default: break
        }
    }
}
