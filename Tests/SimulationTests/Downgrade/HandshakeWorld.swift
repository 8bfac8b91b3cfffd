import FlowEngine
import OpenSSLProvider
import PacketWire
import Tcpcrypt
import TestSupport

/// Two hosts with engines and kernels that speak MPTCP, an attacker between them, and the model beside them.
///
/// Each opener's stream and its acceptor's are marked; an acceptor knows its opener by the initial sequence number, which no attack
/// alters, whatever else is made of the handshake.
final class HandshakeWorld {
    /// A connection as the kernel of one host has it.
    final class End {
        let name: HandshakeModel.End
        let endpoint: MPTCPEndpoint
        fileprivate(set) var first: Socket?

        init(_ name: HandshakeModel.End, _ endpoint: MPTCPEndpoint) {
            self.name = name
            self.endpoint = endpoint
        }

        /// Its kernel takes joins, or could open some.
        fileprivate var isJoinable: Bool {
            guard let first, let subflow = first.kernel.subflow else { return false }
            return first.wasEstablished && endpoint.remoteToken != nil && !subflow.hasFallenBack
        }
    }

    final class Socket {
        let host: Int
        let number: Int
        let kernel: KernelTCP
        let end: End?
        let isJoin: Bool
        /// Of the marks of its stream and its peer's: that of the opener's.
        let mark: UInt8?
        var random: UInt32?
        /// The opener's random number, as the acceptor was told.
        var toldRandom: UInt32?
        fileprivate(set) var wasEstablished = false
        fileprivate(set) var isEncrypted = false
        fileprivate(set) var isPlain = false
        fileprivate(set) var isResumed = false
        fileprivate(set) var sessionID: [UInt8] = []
        fileprivate(set) var tep: TEP?
        /// The tokens that its engine knows.
        fileprivate(set) var tokens: (local: UInt32?, remote: UInt32?) = (nil, nil)

        /// Its SYN names the TEP first that both hosts want most: one that proposes a session names that of the session alone.
        private(set) var offersBest = false

        fileprivate func note(_ syn: Forgery) {
            let first = syn.eno?.dropFirst(2).first { $0 >= 0x20 }
            if let first, first & 0x7f == TEP.curve25519.rawValue { offersBest = true }
        }

        func hasSameKeys(as other: Socket) -> Bool { !sessionID.isEmpty && sessionID == other.sessionID }

        init(_ host: Int, _ number: Int, _ kernel: KernelTCP, _ end: End?, isJoin: Bool, mark: UInt8?) {
            self.host = host
            self.number = number
            self.kernel = kernel
            self.end = end
            self.isJoin = isJoin
            self.mark = mark
        }
    }

    let simulation: Simulation
    let attacker: PathAttacker
    let secrets: SecretWatch
    private(set) var model = HandshakeModel()
    private(set) var ends: [End] = []
    private(set) var sockets: [Socket] = []
    var random: SeededRandom
    private var current: [[FlowTuple: Socket]] = [[:], [:]]
    private var openers: [UInt32: Socket] = [:]
    private var eventsSeen = [0, 0]
    private var violations: [String] = []
    private var nextPort: UInt16 = 30_000
    private var nextMark: UInt8 = 1

    init(seed: UInt64, trace: Bool) {
        var random = SeededRandom(seed: seed)
        var setup = Simulation.Setup()
        setup.usesIPv6 = random.chance(0.3)
        for side in [\Simulation.Setup.client, \.server] {
            setup[keyPath: side].engine.teps = random.chance(0.5) ? [.curve25519] : [.curve25519, .p256]
            setup[keyPath: side].kernel.usesTimestamps = random.chance(0.7)
            setup[keyPath: side].kernel.defersThirdAck = random.chance(0.1)
            setup[keyPath: side].kernel.usesQuickAcks = random.chance(0.5)
        }
        secrets = SecretWatch(OpenSSLProvider())
        simulation = Simulation(seed: random.next(), setup, crypto: secrets, trace: trace)
        attacker = PathAttacker(simulation, random: random.fork())
        self.random = random
        attacker.tokens = { [unowned self] host in established(at: host).map(\.endpoint.localToken) }
        attacker.plainTokens = { [unowned self] host in
            established(at: host).filter { protection($0) == .plain }.map(\.endpoint.localToken)
        }
        attacker.watch = { [unowned self] packet, host in judgeWire(packet, from: host) }
        for (index, host) in hosts.enumerated() {
            host.onAccept = { [unowned self] tuple, option, packet in accept(index, tuple, option, packet) }
        }
    }

    var hosts: [SimulatedHost] { [simulation.client, simulation.server] }

    private func established(at host: Int) -> [End] {
        ends.filter { $0.name.host == host && $0.endpoint.remoteToken != nil }
    }

    // MARK: What hosts do

    /// Runs for a while; the model is asked at every step.
    func run(milliseconds: Int64, until isDone: () -> Bool = { false }) {
        _ = simulation.run(milliseconds: milliseconds) {
            readEvents()
            return isDone()
        }
        readEvents()
    }

    /// Opens a connection of TCP or MPTCP.
    @discardableResult
    func connect(from host: Int, isMPTCP: Bool = true, finishes: Bool = false) -> Socket? {
        let end = isMPTCP ? makeEnd(host) : nil
        return open(from: host, end, isJoin: false, to: simulation.address(hosts[1 - host]), finishes: finishes)
    }

    /// Opens one more subflow.
    ///
    /// - Parameter isLured: to an address of the attacker's, as a forged ADD_ADDR would have it.
    @discardableResult
    func join(_ end: End, isLured: Bool = false, finishes: Bool = false) -> Socket? {
        guard mayJoin(end) else { return nil }
        let host = end.name.host
        let target = isLured ? attacker.address : simulation.address(hosts[1 - host], random.int(0...1))
        return open(from: host, end, isJoin: true, to: target, finishes: finishes)
    }

    /// Some of its subflows live, or it is remembered that they did.
    func mayJoin(_ end: End) -> Bool {
        end.isJoinable
            && (protection(end) != .undecided || sockets.contains { $0.end === end && $0.kernel.state == .established })
    }

    private func makeEnd(_ host: Int) -> End {
        let provider = simulation.provider
        let endpoint = MPTCPEndpoint(localKey: random.next()) { provider.sha256($0.span) }
        let end = End(HandshakeModel.End(host: host, number: ends.count), endpoint)
        ends.append(end)
        return end
    }

    private func open(from host: Int, _ end: End?, isJoin: Bool, to address: IPAddress, finishes: Bool) -> Socket? {
        guard nextMark < 120 else { return nil }
        let mark = nextMark
        nextMark += 1
        nextPort += 1
        let tuple = FlowTuple(
            local: Endpoint(address: simulation.address(hosts[host], random.int(0...2)), port: nextPort),
            remote: Endpoint(address: address, port: 5001))
        let plan = plan(opener: mark, isOpener: true, finishes: finishes)
        let kind: SubflowModel.Kind = isJoin ? .join(token: end?.endpoint.remoteToken ?? 0) : .capable
        let socket = make(host, tuple, isOpener: true, end, kind, plan, mark)
        openers[socket.kernel.initialSequence] = socket
        hosts[host].open(socket.kernel, plan: plan)
        return socket
    }

    private func accept(
        _ host: Int, _ tuple: FlowTuple, _ option: MPTCPOption?, _ packet: TCPPacket
    ) -> (socket: KernelTCP, plan: ApplicationPlan)? {
        let opener = openers[packet.sequence.rawValue]
        let end: End?
        let kind: SubflowModel.Kind
        switch option {
        case .capableSYN:
            end = makeEnd(host)
            kind = .capable
        case .joinSYN(let token, _):
            end = ends.first { $0.name.host == host && $0.endpoint.localToken == token && mayJoin($0) }
            guard end != nil else { return nil }
            kind = .join(token: token)
        case nil:
            end = nil
            kind = .capable
        default: return nil
        }
        let plan = plan(opener: opener?.mark, isOpener: false, finishes: opener?.mark.map(finishing.contains) ?? false)
        let socket = make(host, tuple, isOpener: false, end, kind, plan, opener?.mark)
        if case .joinSYN(_, let random) = option { socket.toldRandom = random }
        return (socket.kernel, plan)
    }

    private func make(
        _ host: Int, _ tuple: FlowTuple, isOpener: Bool, _ end: End?, _ kind: SubflowModel.Kind,
        _ plan: ApplicationPlan, _ mark: UInt8?
    ) -> Socket {
        let subflow = end.map {
            SubflowModel(
                kind: kind, isOpener: isOpener, connection: $0.endpoint,
                localRandom: UInt32(truncatingIfNeeded: random.next()), addressID: UInt8(random.int(0...3)))
        }
        let side = host == 0 ? simulation.setup.client : simulation.setup.server
        var kernel = simulation.socket(tuple, isOpener: isOpener, plan, side.kernel, subflow: subflow)
        // An acceptor knows its opener by it.
        while isOpener, openers[kernel.initialSequence] != nil {
            kernel = simulation.socket(tuple, isOpener: isOpener, plan, side.kernel, subflow: subflow)
        }
        let socket = Socket(host, sockets.count, kernel, end, isJoin: kind != .capable, mark: mark)
        socket.random = subflow?.localRandom
        sockets.append(socket)
        current[host][tuple] = socket
        if end?.first == nil { end?.first = socket }
        kernel.onEstablished = { [unowned self, unowned socket] in establish(socket) }
        return socket
    }

    private var finishing: Set<UInt8> = []

    /// What an opener with the mark `opener` sends and reads, or its acceptor. Whoever has no opener expects nothing.
    private func plan(opener: UInt8?, isOpener: Bool, finishes: Bool) -> ApplicationPlan {
        guard let opener else {
            return ApplicationPlan(
                stream: PatternStream(number: 252), total: 50, peerStream: PatternStream(number: 253), peerTotal: 0)
        }
        if finishes { finishing.insert(opener) }
        let up = PatternStream(number: 2 * opener)
        let down = PatternStream(number: 2 * opener + 1)
        var plan = ApplicationPlan(
            stream: isOpener ? up : down, total: 400, peerStream: isOpener ? down : up, peerTotal: 400)
        plan.writeChunk = random.pick([60, 150, 400])
        plan.writePauseMilliseconds = 0...random.pick([0, 100, 2_000])
        // It stays until somebody ends it.
        if !finishes { plan.gates = [(0, 399)] }
        return plan
    }

    // MARK: What is seen

    private func report(_ socket: Socket) -> SubflowReport? {
        let tuple = socket.kernel.tuple
        for connection in hosts[socket.host].connections() {
            guard let found = connection.subflows.first(where: { $0.local == tuple.local && $0.remote == tuple.remote })
            else { continue }
            socket.tokens = (connection.localToken, connection.remoteToken)
            return found
        }
        return nil
    }

    private func subflow(_ socket: Socket, _ report: SubflowReport?) -> HandshakeModel.Subflow? {
        guard let end = socket.end else { return nil }
        // What no engine knows is queued nowhere, and plain.
        return HandshakeModel.Subflow(
            end: end.name, number: socket.number, isJoin: socket.isJoin, isOpener: socket.kernel.isOpener,
            state: report?.state ?? .plain, origin: report?.origin, sessionID: report?.sessionID ?? [],
            secretIndex: report?.secretIndex,
            tokens: [socket.tokens.local, socket.tokens.remote].compactMap(\.self).sorted())
    }

    private func establish(_ socket: Socket) {
        readEvents()
        socket.wasEstablished = true
        guard let seen = subflow(socket, report(socket)) else { return }
        if socket.isJoin { noteUnproven(seen, socket.end?.first) }
        if !socket.isJoin, seen.state == .plain { model.settle(seen, as: .plain) }
        model.establish(seen, isProven: socket.isEncrypted)
    }

    /// Whoever accepts a resumed connection has keys, for joins too, before its opener has shown any; also where the first subflow never
    /// comes about. The chain itself says that it is the opener's connection.
    private func noteUnproven(_ join: HandshakeModel.Subflow, _ first: Socket?) {
        guard let first, let end = first.end, protection(end) == .undecided, join.origin == .join,
            var seen = subflow(first, report(first))
        else { return }
        seen.state = .encrypted
        model.settle(seen, as: .encrypted(seen.sessionID))
    }

    /// What the engines say has become of connections.
    private func readEvents() {
        for index in 0..<2 {
            let events = hosts[index].events
            guard events.count > eventsSeen[index] else { continue }
            let news = events[eventsSeen[index]...]
            eventsSeen[index] = events.count
            for event in news { read(event, index) }
        }
    }

    private func read(_ event: EngineEvent, _ host: Int) {
        switch event {
        case .encrypted(let tuple, let origin):
            guard let socket = current[host][tuple] else { return violations.append("keys without a socket") }
            socket.isEncrypted = true
            socket.isResumed = origin == .resumed
            // A reset has ended it before there were keys.
            guard let report = report(socket) else { return }
            socket.sessionID = report.sessionID
            socket.tep = report.tep
            guard let seen = subflow(socket, report) else { return }
            if !socket.isJoin { model.settle(seen, as: .encrypted(report.sessionID)) }
            model.prove(seen)
        case .fellBack(let tuple, _):
            guard let socket = current[host][tuple] else { return }
            if socket.isEncrypted { violations.append("what was encrypted fell back") }
            socket.isPlain = true
            // Until its kernel has it, it may begin anew.
            guard !socket.isJoin, socket.wasEstablished, let seen = subflow(socket, report(socket)) else { return }
            model.settle(seen, as: .plain)
        default: break
        }
    }

    /// Nothing that an application wrote is readable where its host has keys, or its connection.
    private func judgeWire(_ packet: WirePacket, from host: Int) {
        if let syn = Forgery(packet), syn.stage == .syn { openers[syn.header.sequence.rawValue]?.note(syn) }
        guard let parsed = packet.parsed, !parsed.payload.isEmpty,
            PatternStream.isVisible(in: packet.bytes.span.extracting(parsed.payload)),
            let socket = current[host][FlowTuple(local: parsed.source, remote: parsed.destination)]
        else { return }
        readEvents()
        let ofEncrypted = socket.end.map { model.protection(of: $0.name).isEncrypted } ?? false
        if socket.isEncrypted || ofEncrypted {
            violations.append("in clear: \(Trace.describe(packet))")
        }
    }

    // MARK: Judgement

    func protection(_ end: End) -> HandshakeModel.Protection { model.protection(of: end.name) }

    /// Whether both ends have it encrypted with the same keys, and each other's tokens right.
    func peer(of end: End) -> End? {
        guard protection(end).isEncrypted else { return nil }
        return ends.first {
            $0.name.host != end.name.host && protection($0) == protection(end)
                && $0.endpoint.localToken == end.endpoint.remoteToken
                && $0.endpoint.remoteToken == end.endpoint.localToken
        }
    }

    /// Whether joins are possible as far as the engines know: somebody may have told them of other keys than the kernels have taken, or
    /// of the same keys for two connections. Then nobody joins.
    func mayBeProved(_ end: End) -> Bool {
        let known = hosts[end.name.host].connections().filter { $0.remoteToken == end.endpoint.remoteToken }
        return known.count == 1 && known.first?.localToken == end.endpoint.localToken
    }

    /// Whether the engine of the host has ever found two connections with one token.
    func hasAmbiguity(_ host: Int) -> Bool {
        hosts[host].events.contains { if case .joinRefused(_, .ambiguousToken, _) = $0 { true } else { false } }
    }

    /// Everything that must never be.
    var failures: [String] {
        readEvents()
        var all = violations + model.violations + model.disagreements + secrets.violations
        all += simulation.recorder.violations
        for host in hosts { all += host.violations.map { "\(host.name): \($0)" } }
        all += agreementFailures
        let applications = Dictionary(
            hosts.flatMap(\.applications).map { (ObjectIdentifier($0.socket), $0) },
            uniquingKeysWith: { first, _ in first })
        for socket in sockets {
            guard let application = applications[ObjectIdentifier(socket.kernel)] else { continue }
            let isOfEncrypted = socket.end.map { protection($0).isEncrypted } ?? false
            guard socket.isEncrypted || isOfEncrypted else { continue }
            if !isCrossed(socket) {
                all += application.violations.map { "port \(socket.kernel.tuple.local.port): \($0)" }
            }
            // Both hosts want it most, whatever somebody made of its offer.
            if socket.offersBest, hasPartner(socket), socket.tep != .curve25519 {
                all.append("another TEP than both ends offered")
            }
            // The acceptor of a resumed connection may have spoken, and ended, before its engine had heard a frame. What it said is right, or a
            // violation of the application's.
            let mayHaveEnded = socket.isResumed && socket.kernel.isOpener
            if application.received > 0, !hasPartner(socket), !mayHaveEnded {
                all.append("bytes of nobody: \(application.received)")
            }
        }
        return all
    }

    /// Two connections that began at the same time may have been exchanged: nothing says which is which before there are keys.
    private func isCrossed(_ socket: Socket) -> Bool {
        !socket.isJoin && sockets.contains { $0 !== socket && $0.hasSameKeys(as: socket) && $0.mark != socket.mark }
    }

    private func hasPartner(_ socket: Socket) -> Bool {
        sockets.contains { $0 !== socket && $0.hasSameKeys(as: socket) }
    }

    /// Both ends of a subflow saw the same handshake, as far as it says what belongs to what.
    private var agreementFailures: [String] {
        sockets.filter { $0.isEncrypted && $0.kernel.isOpener && $0.isJoin }.flatMap { opener -> [String] in
            let acceptors = sockets.filter {
                $0 !== opener && !$0.kernel.isOpener && $0.hasSameKeys(as: opener)
            }
            return acceptors.flatMap { acceptor -> [String] in
                var found: [String] = []
                // A kernel whose half-open connection was reset answers a copy of the SYN anew. Its engine has the keys of the first answer,
                // so that the second one is never established.
                let isSameAttempt =
                    acceptor.toldRandom == opener.random && opener.kernel.subflow?.remoteRandom == acceptor.random
                if acceptor.wasEstablished, !isSameAttempt {
                    found.append("other random numbers at the ends of a join")
                }
                // A kernel may have been told of another key by somebody's third ACK, and its engine not.
                if acceptor.tokens.remote != opener.end?.endpoint.localToken
                    || opener.tokens.remote != acceptor.end?.endpoint.localToken
                {
                    found.append("other tokens at the ends of a join")
                }
                if acceptor.mark != opener.mark { found.append("joined to another opener") }
                return found
            }
        }
    }

    /// What became of joins: opened by hosts, accepted by both kernels, refused by the engines.
    var joinCounts: (opened: Int, accepted: Int, refused: Int) {
        let joins = sockets.filter(\.isJoin)
        return (
            joins.count { $0.kernel.isOpener },
            joins.count { !$0.kernel.isOpener && $0.isEncrypted && hasPartner($0) },
            Int(hosts.reduce(0) { $0 + $1.counters.joinsRefused })
        )
    }
}
