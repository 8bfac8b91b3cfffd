import FlowEngine
import NetfilterQueue

/// The two queues, the raw sockets and sock_diag of the real kernel. Used by one thread.
struct LiveKernel: PacketKernel, ~Copyable {
    private(set) var main: QueueSocket
    private(set) var syn: QueueSocket
    /// Verdict messages or packets the kernel refused.
    private(set) var failures: UInt64 = 0

    private let injector: PacketInjector
    private let sockets: SocketDiagnostics
    private let events: EventLog
    /// Sockets that were not found by address alone: perhaps bound to a device.
    private var missed: Set<FlowTuple> = []

    init(
        main: consuming QueueSocket, syn: consuming QueueSocket, injector: consuming PacketInjector,
        sockets: consuming SocketDiagnostics, events: EventLog
    ) {
        self.main = main
        self.syn = syn
        self.injector = injector
        self.sockets = sockets
        self.events = events
    }

    /// Receives from the main queue, or that of SYNs, without blocking; false when nothing waits.
    mutating func receive(isSYN: Bool, into buffer: inout PacketBuffer) throws(SystemCallError) -> Bool {
        isSYN ? try syn.receive(into: &buffer) : try main.receive(into: &buffer)
    }

    mutating func accept(_ id: PacketID, mark: UInt32) {
        attempt { (kernel) throws(SystemCallError) in
            if id.queue == kernel.syn.queue {
                try kernel.syn.accept(id.number, mark: mark)
            } else {
                try kernel.main.accept(id.number, mark: mark)
            }
        }
    }

    mutating func replace(_ id: PacketID, with packet: Span<UInt8>, mark: UInt32) {
        do {
            if id.queue == syn.queue {
                try syn.accept(id.number, mark: mark, replacement: packet)
            } else {
                try main.accept(id.number, mark: mark, replacement: packet)
            }
        } catch {
            note(error)
        }
    }

    mutating func drop(_ id: PacketID) {
        attempt { (kernel) throws(SystemCallError) in
            if id.queue == kernel.syn.queue {
                try kernel.syn.drop(id.number)
            } else {
                try kernel.main.drop(id.number)
            }
        }
    }

    /// Verdicts before it leave first, so that packets of a flow keep their order.
    mutating func inject(_ packet: Span<UInt8>, mark: UInt32, interface: UInt32) {
        flush()
        do { try injector.send(packet, mark: mark, interface: interface) } catch { note(error) }
    }

    mutating func injectLocally(_ packet: Span<UInt8>) {
        flush()
        do { try injector.sendLocally(packet) } catch { note(error) }
    }

    mutating func destroySocket(_ tuple: FlowTuple) {
        flush()
        do {
            if try !sockets.destroy(local: tuple.local, remote: tuple.remote) { missed.insert(tuple) }
        } catch {
            note(error)
        }
    }

    var hasMissed: Bool { !missed.isEmpty }

    /// Destroys those that ``destroySocket(_:)`` did not find, with one listing for all of them.
    mutating func destroyMissed() {
        guard !missed.isEmpty else { return }
        let tuples = missed
        missed.removeAll()
        do {
            for socket in try sockets.list()
            where tuples.contains(FlowTuple(local: socket.local, remote: socket.remote)) {
                _ = try sockets.destroy(socket)
            }
        } catch {
            note(error)
        }
    }

    mutating func flush() {
        attempt { (kernel) throws(SystemCallError) in
            try kernel.syn.flush()
            try kernel.main.flush()
        }
    }

    private mutating func attempt(_ body: (inout LiveKernel) throws(SystemCallError) -> Void) {
        do { try body(&self) } catch { note(error) }
    }

    private mutating func note(_ error: SystemCallError) {
        failures &+= 1
        events.failure(error.description)
    }
}
