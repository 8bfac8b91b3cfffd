public import FlowEngine
public import PacketWire
public import Tcpcrypt

/// A host: sockets of a modelled kernel, applications, and an engine between them and the wire, or none.
public final class SimulatedHost {
    /// One path of several between two hosts.
    fileprivate struct Route: Hashable {
        var local: IPAddress
        var remote: IPAddress
    }

    private struct Pending {
        var packet: WirePacket
        var direction: Direction
        var tuple: FlowTuple?
    }

    public let name: String
    public let mtu: Int
    public private(set) var sockets: [FlowTuple: KernelTCP] = [:]
    public private(set) var allSockets: [KernelTCP] = []
    public private(set) var applications: [Application] = []
    public private(set) var violations: [String] = []
    public private(set) var events: [EngineEvent] = []
    public private(set) var journal: [FlowTuple: CondemnedFlow] = [:]
    /// Makes the socket and application for a SYN; nil refuses it.
    public var onAccept: ((FlowTuple, MPTCPOption?, TCPPacket) -> (socket: KernelTCP, plan: ApplicationPlan)?)?
    /// Where packets leave; set once the path exists.
    public var egress: (any NetworkDevice)?

    private unowned let network: VirtualNetwork
    private var workers: [Worker] = []
    private var output = Output(capacity: 1 << 16)
    private var pending: [PacketID: Pending] = [:]
    /// Connections whose packets the rules no longer queue.
    private var plainFlows: Set<FlowTuple> = []
    private var nextNumber: UInt32 = 0
    private var nextReconciliation: Instant
    /// What the kernel's routes take, and since when, where that is less than the device does.
    private var routes: [Route: (mtu: Int, since: Instant)] = [:]
    private var random: SeededRandom
    private var isSettling = false

    public init(name: String, mtu: Int, network: VirtualNetwork, random: SeededRandom) {
        self.name = name
        self.mtu = mtu
        self.network = network
        self.random = random
        nextReconciliation = network.now.adding(milliseconds: 10_000)
    }

    /// One of the engines that share the work.
    private final class Worker {
        var engine: Engine

        init(_ engine: consuming Engine) { self.engine = engine }
    }

    /// Puts engines between kernel and wire, of which each serves some of the connections.
    public func startEngine(
        _ configuration: EngineConfiguration, crypto: any CryptoProvider, random: any RandomSource, workers count: Int
    ) {
        let shared = SharedState(configuration, crypto: crypto)
        workers = (0..<count).map { _ in
            Worker(Engine(configuration: configuration, crypto: crypto, random: random, shared: shared))
        }
    }

    /// Who serves the connection that a packet, or what an error quotes, belongs to.
    private func worker(of packet: WirePacket) -> Worker {
        workers[WorkerSteering.worker(of: packet.bytes.span, among: workers.count) ?? 0]
    }

    /// Tells the engine that its kernel tries how long segments may be.
    public func tellProbing() {
        for worker in workers { worker.engine.kernelProbesPaths = true }
    }

    public var hasEngine: Bool { !workers.isEmpty }
    public var pendingCount: Int { pending.count }
    public func connections() -> [ConnectionReport] {
        var merged: [ConnectionReport] = []
        for report in workers.flatMap({ $0.engine.connections() }) {
            let known = merged.firstIndex {
                report.isMPTCP && $0.isMPTCP && $0.localToken == report.localToken
                    && $0.remoteToken == report.remoteToken
            }
            if let known { merged[known].subflows += report.subflows } else { merged.append(report) }
        }
        return merged
    }

    public func sessions() -> [SessionReport] { workers.first?.engine.sessions(now: network.now) ?? [] }
    public var counters: EngineCounters { workers.reduce(EngineCounters()) { $0 + $1.engine.counters } }
    public var now: Instant { network.now }

    // MARK: Applications

    /// Opens a connection.
    public func open(_ socket: KernelTCP, plan: ApplicationPlan) {
        install(socket, plan)
        socket.connect(now: now)
        settle()
    }

    private func install(_ socket: KernelTCP, _ plan: ApplicationPlan) {
        if let route = routes[Route(local: socket.tuple.local.address, remote: socket.tuple.remote.address)] {
            socket.pathMTU = route.mtu
        }
        sockets[socket.tuple] = socket
        allSockets.append(socket)
        applications.append(Application(plan, socket: socket, random: random.fork(), now: now))
    }

    /// Forgets finished applications, so that another phase of a run can begin.
    public func forgetApplications() { applications = [] }

    /// Stops the daemon as an operator does.
    public func shutDownEngine() {
        for worker in workers {
            output.reset()
            worker.engine.shutDown(now: now, into: &output)
            perform()
        }
        settle()
    }

    // MARK: Time

    public var nextDeadline: Instant? {
        var times = sockets.values.compactMap(\.nextDeadline) + applications.compactMap(\.nextDeadline)
        if hasEngine { times.append(nextReconciliation) }
        times += workers.compactMap { $0.engine.nextDeadline }
        return times.min()
    }

    public func handleDeadlines() {
        for (_, socket) in sockets.sorted(by: { $0.key.order < $1.key.order }) {
            if let deadline = socket.nextDeadline, deadline <= now { socket.handleDeadlines(now: now) }
        }
        for (tuple, socket) in sockets where socket.state == .closed && socket.failure == nil {
            sockets[tuple] = nil
        }
        for worker in workers {
            guard let deadline = worker.engine.nextDeadline, deadline <= now else { continue }
            output.reset()
            worker.engine.handleDeadlines(now: now, into: &output)
            perform()
            if let again = worker.engine.nextDeadline, again <= now {
                violations.append("a deadline of \(again.nanoseconds) stays due after it was handled")
            }
        }
        if hasEngine, nextReconciliation <= now { reconcile() }
        settle()
    }

    private func reconcile() {
        nextReconciliation = now.adding(milliseconds: 10_000)
        let alive = sockets.filter { $0.value.state != .closed }
        for worker in workers {
            output.reset()
            worker.engine.reconcile(sockets: Set(alive.keys), now: now, into: &output)
            perform()
        }
    }

    /// Lets applications and sockets act until nothing more happens now.
    public func settle() {
        guard !isSettling else { return }
        isSettling = true
        defer { isSettling = false }
        var isBusy = true
        while isBusy {
            isBusy = false
            for application in applications { application.step(now: now) }
            for (_, socket) in sockets.sorted(by: { $0.key.order < $1.key.order })
            where !socket.outbox.isEmpty {
                let packets = socket.outbox
                socket.outbox = []
                isBusy = true
                for packet in packets { sendFromKernel(packet) }
            }
        }
    }

    // MARK: Packets

    private func sendFromKernel(_ packet: WirePacket) {
        network.trace.note(network.time, "\(name) K> \(Trace.describe(packet))")
        let tuple = packet.parsed.map { FlowTuple(local: $0.source, remote: $0.destination) }
        if !enqueue(packet, .outbound, tuple), fitsRoute(packet, isOurs: false) {
            egress?.transmit(packet, on: network)
        }
    }

    public func receiveFromWire(_ packet: WirePacket) {
        let tuple = packet.parsed.map { FlowTuple(local: $0.destination, remote: $0.source) }
        if !enqueue(packet, .inbound, tuple) { deliver(packet) }
        settle()
    }

    /// Shows the packet to the engine; false where the rules do not queue it.
    private func enqueue(_ packet: WirePacket, _ direction: Direction, _ tuple: FlowTuple?) -> Bool {
        guard hasEngine else { return false }
        let flags = packet.parsed?.flags ?? []
        let isFirst = flags.contains(.syn) && !flags.contains(.ack)
        if let tuple, plainFlows.contains(tuple), !isFirst { return false }
        nextNumber += 1
        let id = PacketID(queue: 0, number: nextNumber)
        pending[id] = Pending(packet: packet, direction: direction, tuple: tuple)
        let metadata = PacketMetadata(
            id: id, direction: direction, mark: 0x42, isGSO: packet.segmentSize != nil, interface: 3,
            mtu: direction == .outbound ? announcedRoute(packet) : mtu,
            isChecksumVerified: packet.hasPartialChecksum)
        output.reset()
        worker(of: packet).engine.receive(packet.bytes.span, metadata, now: now, into: &output)
        perform()
        return true
    }

    private func perform() {
        let actions = output.actions
        let ranges = actions.map { action -> [UInt8] in
            switch action {
            case .replace(_, let range, _), .inject(let range, _), .injectLocal(let range):
                Array(output.bytes[range])
            default: []
            }
        }
        for (action, bytes) in zip(actions, ranges) { perform(action, bytes) }
    }

    private func perform(_ action: Action, _ bytes: [UInt8]) {
        switch action {
        case .accept(let id, let mark): accept(id, mark, replacement: nil)
        case .replace(let id, _, let mark): accept(id, mark, replacement: bytes)
        case .drop(let id):
            if let dropped = answer(id) {
                network.trace.note(network.time, "\(name) drop \(Trace.describe(dropped.packet))")
            }
        case .inject(_, let egress):
            let packet = WirePacket(bytes)
            // The answer to a stranger's packet leaves it to the route.
            let isReset = packet.parsed?.flags.contains(.rst) ?? false
            if egress.mark != 0x42 || (egress.interface != 3 && !isReset) {
                violations.append("injected with mark \(egress.mark), interface \(egress.interface)")
            }
            network.trace.note(network.time, "\(name) inject \(Trace.describe(packet))")
            self.egress?.transmit(packet, on: network)
        case .injectLocal:
            let packet = WirePacket(bytes)
            network.trace.note(network.time, "\(name) local \(Trace.describe(packet))")
            deliver(packet)
        case .destroySocket(let tuple):
            network.trace.note(network.time, "\(name) destroy \(tuple.local)-\(tuple.remote)")
            sockets[tuple]?.abort(now: now, failure: .destroyed)
        case .journalAdd(let flow): journal[flow.tuple] = flow
        case .journalRemove(let tuple): journal[tuple] = nil
        case .inquire(let inquiry): violations.append("asked about a join to \(inquiry.tuple.remote)")
        case .log(let event):
            network.trace.note(network.time, "\(name) event \(event)")
            events.append(event)
        }
    }

    private func answer(_ id: PacketID) -> Pending? {
        guard let found = pending.removeValue(forKey: id) else {
            violations.append("packet \(id.number) answered twice, or never asked")
            return nil
        }
        return found
    }

    private func accept(_ id: PacketID, _ mark: FlowMark, replacement: [UInt8]?) {
        guard let found = answer(id) else { return }
        if let tuple = found.tuple {
            if mark == .plain { plainFlows.insert(tuple) } else { plainFlows.remove(tuple) }
        }
        var packet = found.packet
        if let replacement {
            if found.direction == .inbound, replacement.count > packet.bytes.count {
                violations.append("a verdict lengthens an inbound packet")
            }
            packet.bytes = replacement
            packet.hasPartialChecksum = packet.segmentSize != nil && found.direction == .outbound
            packet.isForged = false
        }
        if found.direction == .inbound { return deliver(packet, isTranslated: replacement != nil) }
        guard fitsRoute(packet, isOurs: replacement != nil) else { return }
        egress?.transmit(packet, on: network)
    }

    // MARK: Routes

    /// What the kernel says of the route of an outbound packet: an answer may be some milliseconds old.
    private func announcedRoute(_ packet: WirePacket) -> Int {
        guard let parsed = packet.parsed, let route = routes[Route(parsed)] else { return mtu }
        return now.milliseconds(since: route.since) < 20 ? mtu : route.mtu
    }

    /// The kernel lets nothing of its own leave that is longer than the route takes.
    private func fitsRoute(_ packet: WirePacket, isOurs: Bool) -> Bool {
        guard let parsed = packet.parsed, let route = routes[Route(parsed)] else { return true }
        let length = packet.segmentSize.map { parsed.payload.lowerBound + $0 } ?? packet.bytes.count
        if length > route.mtu, isOurs, packet.segmentSize == nil {
            violations.append("a verdict of \(length) bytes where the route takes \(route.mtu)")
        }
        return length <= route.mtu
    }

    private func deliverError(_ bytes: [UInt8], isTranslated: Bool) {
        guard let error = ICMPError(parsing: bytes.span), error.hasValidChecksum(in: bytes.span), let told = error.mtu,
            let socket = sockets[FlowTuple(local: error.source, remote: error.destination)]
        else { return }
        guard socket.isUnderWay(error.sequence) else {
            if isTranslated, socket.state != .closed {
                violations.append("an error about \(error.sequence.rawValue), not under way")
            }
            return
        }
        network.trace.note(network.time, "\(name) <K path MTU \(told)")
        // Linux takes no notice, or allows fragmentation, below these.
        guard told >= (error.isIPv6 ? 1280 : 552) else { return }
        let route = Route(local: error.source.address, remote: error.destination.address)
        guard told < routes[route]?.mtu ?? mtu else { return }
        routes[route] = (told, now)
        for (tuple, socket) in sockets
        where Route(local: tuple.local.address, remote: tuple.remote.address) == route {
            socket.reducePath(to: told, now: now)
        }
    }

    // MARK: The kernel's side

    private func deliver(_ packet: WirePacket, isTranslated: Bool = false) {
        guard let parsed = packet.parsed else { return deliverError(packet.bytes, isTranslated: isTranslated) }
        network.trace.note(network.time, "\(name) <K \(Trace.describe(packet))")
        let tuple = FlowTuple(local: parsed.destination, remote: parsed.source)
        if let socket = sockets[tuple], socket.state != .closed {
            guard socket.yields(to: parsed, TCPOptions(parsed, of: packet.bytes.span)) else {
                return socket.receive(packet, now: now)
            }
        }
        guard !parsed.flags.contains(.rst) else { return }
        guard PacketBuilder.hasValidChecksums(packet.bytes, parsed) || packet.hasPartialChecksum else { return }
        let options = TCPOptions(parsed, of: packet.bytes.span)
        if parsed.flags.contains(.syn), !parsed.flags.contains(.ack),
            let made = onAccept?(tuple, options.mptcpOption(isSYN: true), parsed)
        {
            install(made.socket, made.plan)
            made.socket.accept(parsed, packet.bytes, now: now)
        } else {
            refuse(parsed, tuple)
        }
    }

    /// A reset for a segment no socket wants.
    private func refuse(_ packet: TCPPacket, _ tuple: FlowTuple) {
        let isAck = packet.flags.contains(.ack)
        let header = TCPHeader(
            sequence: isAck ? packet.acknowledgment : SequenceNumber(0),
            acknowledgment: isAck ? SequenceNumber(0) : packet.sequence + packet.sequenceLength,
            flags: isAck ? [.rst] : [.rst, .ack], window: 0)
        let bytes = PacketBuilder.packet(from: tuple.local, to: tuple.remote, header, checksum: .leftToKernel)
        sendFromKernel(WirePacket(bytes, hasPartialChecksum: true))
    }
}

extension SimulatedHost.Route {
    fileprivate init(_ packet: TCPPacket) {
        self.init(local: packet.source.address, remote: packet.destination.address)
    }
}

extension FlowTuple {
    /// The same in every process, unlike a dictionary's.
    fileprivate var order: (UInt16, UInt16, UInt64, UInt64) {
        (local.port, remote.port, remote.address.high ^ remote.address.low, local.address.high ^ local.address.low)
    }
}
