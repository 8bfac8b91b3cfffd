import FlowEngine
import NetfilterQueue
import PacketWire
import SystemPackage

/// The queues, the raw sockets and sock_diag of the real kernel. Used by one thread.
struct LiveKernel: PacketKernel, ~Copyable {
    /// The queues in the order in which they are served.
    enum Source: Int, CaseIterable { case main, strangers, syn }

    private(set) var main: QueueSocket
    private(set) var strangers: QueueSocket
    private(set) var syn: QueueSocket
    /// Verdict messages or packets the kernel refused.
    private(set) var failures: UInt64 = 0

    private let injector: PacketInjector
    private var addresses: OwnAddresses
    private let sockets: SocketDiagnostics
    let events: EventLog
    /// Sockets that were not found by address alone: perhaps bound to a device.
    private var missed: Set<FlowTuple> = []
    /// Joins of the local kernel that it has not been asked about.
    private var inquiries: [JoinInquiry] = []

    init(
        main: consuming QueueSocket, strangers: consuming QueueSocket, syn: consuming QueueSocket,
        injector: consuming PacketInjector, addresses: consuming OwnAddresses,
        sockets: consuming SocketDiagnostics, events: EventLog
    ) {
        self.main = main
        self.strangers = strangers
        self.syn = syn
        self.injector = injector
        self.addresses = addresses
        self.sockets = sockets
        self.events = events
    }

    var queues: [UInt16] { [main.queue, strangers.queue, syn.queue] }
    /// In the order of ``Source``.
    var fileDescriptors: [Int32] { [main.fileDescriptor, strangers.fileDescriptor, syn.fileDescriptor] }

    /// Receives up to `limit` datagrams without blocking, and tells whether more may wait.
    mutating func receive(
        from source: Source, into buffer: inout PacketBuffer, atMost limit: Int
    ) throws(SystemCallError) -> Bool {
        switch source {
        case .main: try main.receive(into: &buffer, atMost: limit)
        case .strangers: try strangers.receive(into: &buffer, atMost: limit)
        case .syn: try syn.receive(into: &buffer, atMost: limit)
        }
    }

    /// Runs `body` on the queue of that number.
    private mutating func withQueue(
        _ number: UInt16, _ body: (inout QueueSocket) throws(SystemCallError) -> Void
    ) {
        do throws(SystemCallError) {
            switch number {
            case syn.queue: try body(&syn)
            case strangers.queue: try body(&strangers)
            default: try body(&main)
            }
        } catch {
            note(error)
        }
    }

    mutating func accept(_ id: PacketID, mark: UInt32) {
        withQueue(id.queue) { (queue) throws(SystemCallError) in try queue.accept(id.number, mark: mark) }
    }

    mutating func replace(_ id: PacketID, with packet: Span<UInt8>, mark: UInt32) {
        do {
            switch id.queue {
            case syn.queue: try syn.accept(id.number, mark: mark, replacement: packet)
            case strangers.queue: try strangers.accept(id.number, mark: mark, replacement: packet)
            default: try main.accept(id.number, mark: mark, replacement: packet)
            }
        } catch {
            note(error)
        }
    }

    mutating func drop(_ id: PacketID) {
        withQueue(id.queue) { (queue) throws(SystemCallError) in try queue.drop(id.number) }
    }

    /// Verdicts before it leave first, so that packets of a flow keep their order.
    ///
    /// From an address that the host has lost nothing leaves, as the kernel sends nothing: a peer that still heard of a subflow
    /// would take it for alive, and MPTCP would wait for it (measured: for seconds after each change of networks).
    mutating func inject(_ packet: Span<UInt8>, mark: UInt32, interface: UInt32) {
        flush()
        if let source = IPAddress.pair(in: packet)?.source,
            addresses.isLost(source, now: MonotonicClock.nanoseconds())
        {
            return
        }
        do { try injector.send(packet, mark: mark, interface: interface) } catch { note(error) }
    }

    mutating func injectLocally(_ packet: Span<UInt8>) {
        flush()
        do {
            try injector.sendLocally(packet)
        } catch  where error.errno == .notPermitted {
            // The host has lost the address, and with it the connection.
        } catch {
            note(error)
        }
    }

    mutating func destroySocket(_ tuple: FlowTuple) {
        flush()
        do {
            if try !sockets.destroy(local: tuple.local, remote: tuple.remote) { missed.insert(tuple) }
        } catch {
            note(error)
        }
    }

    mutating func inquire(_ inquiry: JoinInquiry) { inquiries.append(inquiry) }

    var hasInquiries: Bool { !inquiries.isEmpty }

    /// What the kernel says of them: the local token of the connection for which it opened that very join, nil where it says nothing of the kind.
    mutating func takeInquiries() -> [(inquiry: JoinInquiry, local: UInt32?)] {
        var answers: [(inquiry: JoinInquiry, local: UInt32?)] = []
        for inquiry in inquiries {
            do {
                let tuple = inquiry.tuple
                let tokens = try sockets.tokens(
                    local: tuple.local, remote: tuple.remote, interface: inquiry.interface)
                answers.append((inquiry, tokens?.remote == inquiry.token ? tokens?.local : nil))
            } catch {
                note(error)
                answers.append((inquiry, nil))
            }
        }
        inquiries.removeAll()
        return answers
    }

    var hasMissed: Bool { !missed.isEmpty }

    /// Those that ``destroySocket(_:)`` did not find, which are then somebody else's to find.
    mutating func takeMissed() -> Set<FlowTuple> {
        defer { missed.removeAll() }
        return missed
    }

    /// Destroys those that ``destroySocket(_:)`` did not find, with one listing for all of them.
    mutating func destroyMissed() {
        guard !missed.isEmpty else { return }
        destroy(Self.find(takeMissed()))
    }

    /// The sockets of these connections, among all that the kernel lists: with very many of them that takes long.
    static func find(_ tuples: Set<FlowTuple>) -> Result<[TCPSocket], SystemCallError> {
        do throws(SystemCallError) {
            let all = try SocketDiagnostics().list()
            return .success(all.filter { tuples.contains(FlowTuple(local: $0.local, remote: $0.remote)) })
        } catch {
            return .failure(error)
        }
    }

    mutating func destroy(_ found: Result<[TCPSocket], SystemCallError>) {
        do throws(SystemCallError) {
            for socket in try found.get() { _ = try sockets.destroy(socket) }
        } catch {
            note(error)
        }
    }

    mutating func flush() {
        for queue in queues { withQueue(queue) { (queue) throws(SystemCallError) in try queue.flush() } }
    }

    private mutating func note(_ error: SystemCallError) {
        failures &+= 1
        events.failure(error.description)
    }
}
