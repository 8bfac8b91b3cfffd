import FlowEngine
import NetfilterQueue
import PacketWire

/// What one thread does with its engine: queues in, actions out, timers and the mailbox between.
struct PacketLoop: ~Copyable {
    private enum Phase {
        case running
        /// New connections are left alone; what exists is being reset.
        case stopping
        case ended
    }

    var engine: Engine
    var executor: ActionExecutor<LiveKernel>

    private let share: WorkerShare
    private let mailbox: Mailbox
    private var interfaces: InterfaceTable
    private var routes: RouteTable
    private var output = Output()
    private var buffer = PacketBuffer()
    private var poller: Poller
    private var machine: MachineWatch
    private let renewRandomness: @Sendable () -> Void
    private var phase = Phase.running
    private var now: Instant
    /// When sockets may be listed again: strangers can make it worth while.
    private var nextListing = Instant(nanoseconds: 0)
    private var isListing = false
    private static let betweenListings: Int64 = 100
    /// Packets longer than a netlink attribute: they cannot be translated.
    private(set) var truncated: UInt64 = 0
    /// Packets of other workers' connections.
    private(set) var missteered: UInt64 = 0

    /// An IPv6 packet with all TCP options and no data.
    private static let smallest = 100

    /// Datagrams taken from a queue before timers and the other queues get their turn.
    private static let budget = 64
    /// Datagrams of others before the main queue has another turn, where those of the turn before cost a key exchange.
    private static let strangersInTurn = 4

    init(
        share: WorkerShare, engine: consuming Engine, executor: consuming ActionExecutor<LiveKernel>,
        interfaces: consuming InterfaceTable, routes: consuming RouteTable, mailbox: Mailbox,
        machine: consuming MachineWatch, renewRandomness: @escaping @Sendable () -> Void
    ) {
        self.share = share
        self.engine = engine
        poller = Poller(
            executor.kernel.fileDescriptors + [mailbox.wakeUp.fileDescriptor, machine.fileDescriptor])
        self.machine = machine
        self.renewRandomness = renewRandomness
        self.executor = executor
        self.interfaces = interfaces
        self.routes = routes
        self.mailbox = mailbox
        now = Instant(nanoseconds: MonotonicClock.nanoseconds())
        // Before the first packet: the rules of the earlier daemon lead its flows into our queues at once.
        self.engine.condemn(self.executor.journal.condemned.filter { share.contains($0.tuple) }, now: now)
        self.engine.kernelProbesPaths = ProbingSetting.isOn
    }

    /// Serves until ``end()``, or until a queue fails.
    mutating func run() throws(SystemCallError) {
        while phase != .ended {
            tick()
            poller.wait(nanoseconds: nextDeadline.map { $0.nanoseconds &- now.nanoseconds })
            tick()
            let sources = LiveKernel.Source.allCases
            if machine.isCopied(hasNews: poller.isReady(sources.count + 1)) { disownSecrets() }
            if poller.isReady(sources.count) { runJobs(mailbox.take()) }
            for source in sources where poller.isReady(source.rawValue) { try drain(source) }
            runTimers()
            executor.kernel.flush()
            findMissed()
        }
    }

    /// Sockets that were not found by their addresses are looked for among all, on a thread of its own: packets do not wait for that.
    private mutating func findMissed() {
        guard executor.kernel.hasMissed, !isListing, nextListing <= now else { return }
        nextListing = now.adding(milliseconds: Self.betweenListings)
        let tuples = executor.kernel.takeMissed()
        isListing = LoopThread.start { [mailbox] in
            let found = LiveKernel.find(tuples)
            _ = mailbox.post { loop in
                loop.isListing = false
                loop.executor.kernel.destroy(found)
            }
        }
        if !isListing { executor.kernel.destroy(LiveKernel.find(tuples)) }
    }

    private var nextDeadline: Instant? {
        guard executor.kernel.hasMissed, !isListing else { return engine.nextDeadline }
        return engine.nextDeadline.map { min($0, nextListing) } ?? nextListing
    }

    /// Runs the jobs nobody will run any more, so that whoever waits for them is answered.
    mutating func closeMailbox() { runJobs(mailbox.close()) }

    private mutating func runJobs(_ jobs: [Mailbox.Job]) {
        for job in jobs { job(&self) }
    }

    private mutating func tick() {
        now = Instant(nanoseconds: MonotonicClock.nanoseconds())
    }
}

// MARK: - Packets and timers

extension PacketLoop {
    private mutating func drain(_ source: LiveKernel.Source) throws(SystemCallError) {
        var limit = source == .main ? PacketBuffer.capacity : Self.strangersInTurn
        var left = Self.budget
        while left > 0 {
            // A stranger's packet may cost a key exchange. Before the first one the main queue has had its turn.
            if source != .main, left < Self.budget { try drain(.main) }
            let operations = engine.counters.publicKeyOperations
            let mayBeMore = try executor.kernel.receive(from: source, into: &buffer, atMost: limit)
            for packet in buffer.packets { handle(packet) }
            left -= limit
            guard mayBeMore else { break }
            let areCheap = engine.counters.publicKeyOperations == operations
            limit = source == .main || areCheap ? PacketBuffer.capacity : Self.strangersInTurn
        }
        // Verdicts of one queue must not wait for another's packets.
        executor.kernel.flush()
    }

    private mutating func handle(_ packet: QueuedPacket) {
        let id = PacketID(queue: packet.queue, number: packet.number)
        let isInbound = packet.hook == .localIn || packet.hook == .preRouting
        executor.expect(id, mark: packet.mark, isInbound ? .inbound : .outbound)
        guard packet.truncatedFrom == nil else {
            truncated &+= 1
            return execute(.drop(id))
        }
        guard share.contains(buffer.payload(of: packet)) else {
            // Encrypted connections of others look like plain ones here.
            missteered &+= 1
            return execute(.drop(id))
        }
        if phase == .stopping, let action = refusal(of: packet, id) { return execute(action) }
        let interface = isInbound ? packet.inputInterface : packet.outputInterface
        let metadata = PacketMetadata(
            id: id, direction: isInbound ? .inbound : .outbound, mark: packet.mark, isGSO: packet.isGSO,
            interface: interface, mtu: isInbound ? interfaces.mtu(interface, now: now.nanoseconds) : pathMTU(packet),
            isChecksumVerified: !packet.isChecksumUnverified)
        Self.pass(packet, metadata, in: buffer, now: now, to: &engine, into: &output)
        executeOutput()
    }

    /// How long a packet to that destination may be.
    private mutating func pathMTU(_ packet: QueuedPacket) -> Int {
        let device = interfaces.mtu(packet.outputInterface, now: now.nanoseconds)
        // What a kernel answers to strangers carries no data, and the route is another one for each.
        guard executor.isEncrypted(packet.mark) || packet.payload.count > Self.smallest,
            let addresses = IPAddress.pair(in: buffer.payload(of: packet))
        else { return device }
        let route = routes.mtu(
            from: addresses.source, to: addresses.destination, interface: packet.outputInterface,
            mark: executor.foreign(packet.mark),
            now: now.nanoseconds)
        return route > 0 ? min(route, device) : device
    }

    /// Apart from self, since a span of the buffer borrows all of it.
    private static func pass(
        _ packet: QueuedPacket, _ metadata: PacketMetadata, in buffer: borrowing PacketBuffer, now: Instant,
        to engine: inout Engine, into output: inout Output
    ) {
        engine.receive(buffer.payload(of: packet), metadata, now: now, into: &output)
    }

    /// While stopping no connection may begin that the engine would encrypt: the next daemon could not go on with it.
    private func refusal(of packet: QueuedPacket, _ id: PacketID) -> Action? {
        guard let segment = try? TCPPacket(parsing: buffer.payload(of: packet)) else { return nil }
        guard segment.flags.isDisjoint(with: [.ack, .rst]), segment.flags.contains(.syn) else { return nil }
        // Joins come by the main queue: one in clear must not slip into an encrypted connection.
        return packet.queue == executor.kernel.syn.queue ? .accept(id, .plain) : .drop(id)
    }

    private mutating func runTimers() {
        guard let deadline = engine.nextDeadline, deadline <= now else { return }
        engine.handleDeadlines(now: now, into: &output)
        executeOutput()
    }

    private mutating func executeOutput() {
        Self.carryOut(output, by: &executor)
        output.reset()
        if executor.kernel.hasInquiries { answerInquiries() }
    }

    /// The local kernel opens few joins of which it has to be asked to what they belong, and strangers none.
    private mutating func answerInquiries() {
        for (inquiry, local) in executor.kernel.takeInquiries() {
            engine.resolve(inquiry, local: local, into: &output)
        }
        Self.carryOut(output, by: &executor)
        output.reset()
    }

    private static func carryOut(_ output: borrowing Output, by executor: inout ActionExecutor<LiveKernel>) {
        executor.execute(output.actions, output.bytes.span)
    }

    private mutating func execute(_ action: Action) {
        executor.execute([action], [UInt8]().span)
    }
}

// MARK: - Jobs

extension PacketLoop {
    var time: Instant { now }

    /// MPTCP connections that an earlier daemon, or none, left plain stay plain; what is half-open and has to be encrypted does not become it.
    mutating func adopt(_ survey: SocketSurvey) {
        engine.distrust(halfOpen: survey.halfOpen.filter { share.contains($0) })
        engine.adoptPlain(tokens: survey.plainTokens(except: executor.journal.condemned))
    }

    /// Forgets idle flows whose socket is gone.
    mutating func reconcile(_ sockets: Set<FlowTuple>) {
        engine.kernelProbesPaths = ProbingSetting.isOn
        engine.reconcile(sockets: sockets, now: now, into: &output)
        executeOutput()
    }

    /// Resets every encrypted flow at both ends and lets nothing new begin. May be called again.
    mutating func shutDown() {
        phase = .stopping
        engine.shutDown(now: now, into: &output)
        executeOutput()
        executor.kernel.flush()
    }

    /// Destroys the sockets of all flows of this worker that may carry ciphertext and are still there. To be called before the rules
    /// go: without them such a socket would send in clear.
    mutating func destroyRemaining() {
        for tuple in executor.journal.tuples where share.contains(tuple) {
            executor.kernel.destroySocket(tuple)
            executor.journal.remove(tuple)
        }
        executor.kernel.destroyMissed()
    }

    /// The machine may exist twice.
    mutating func disownSecrets() {
        renewRandomness()
        let count = engine.flowCounts[.encrypted] ?? 0
        executor.kernel.events.machineCopied(count)
        engine.disownSecrets(now: now, into: &output)
        executeOutput()
        executor.kernel.flush()
    }

    /// Ends ``run()``; closing the queues then drops what is still held.
    mutating func end() { phase = .ended }
}
