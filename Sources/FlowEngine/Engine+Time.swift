import PacketWire
import Tables
import Tcpcrypt

/// What takes long where there are many connections or sessions, and is done piece by piece between packets.
struct Chores {
    /// A comparison with the sockets there were at one moment, and how far it has come.
    struct Reconciliation {
        let sockets: Set<FlowTuple>
        let since: Instant
        var place = 0
        var condemnedPlace = 0
    }

    var reconciliation: Reconciliation?
    /// Sessions that were forgotten, or whose time is over, are still to be erased.
    var isErasing = false
    /// MPTCP connections without subflows are still to be forgotten.
    var isExpiring = false

    /// At once, by the side of packets: together no more than a few milliseconds.
    static let deadlines = 128
    /// Public-key operations.
    static let operations = 4
    static let flows = 1024
    static let sessions = 32
    static let connections = 64

    var isPending: Bool { reconciliation != nil || isErasing || isExpiring }
}

extension Engine {
    /// When ``handleDeadlines(now:into:)`` is wanted next; calling it earlier or later does no harm.
    public var nextDeadline: Instant? {
        if chores.isPending { return Instant(nanoseconds: 0) }
        let keys = host.ephemeralKeys.expiry.map { Instant(nanoseconds: 0).adding(milliseconds: $0) }
        return Instant.earlier(Instant.earlier(deadlines.first, condemned.nextDeadline), keys)
    }

    /// Does what is due; where that is much a part of it, to be called again at once: packets shall not wait for a crowd.
    public mutating func handleDeadlines(now: Instant, into output: inout Output) {
        let operations = host.counters.publicKeyOperations
        for _ in 0..<Chores.deadlines {
            guard host.counters.publicKeyOperations - operations < Chores.operations else { break }
            guard let flow = deadlines.popFirst(now) else { break }
            flow.scheduled = nil
            guard flows[flow.tuple] === flow else { continue }
            if flow.isSettled {
                serveDeadlines(of: flow, now, &output)
            } else {
                host.locked { serveDeadlines(of: flow, now, &output) }
            }
        }
        condemned.handleDeadlines(now, host, &output)
        host.renewKeyPairs(now)
        doChores(now, &output)
    }

    private mutating func serveDeadlines(of flow: Flow, _ now: Instant, _ output: inout Output) {
        if flow.handleDeadlines(now: now, &output) {
            settle(flow, &output)
        } else {
            remove(flow, now: now, &output)
        }
    }

    /// A clean stop: every encrypted connection ends with an error at both ends, and none begins.
    ///
    /// The journal keeps them: it says which sockets must be gone before the rules go.
    public mutating func shutDown(now: Instant, into output: inout Output) {
        host.locked { endAll(now, &output) }
    }

    private mutating func endAll(_ now: Instant, _ output: inout Output) {
        for flow in Array(flows.values) {
            if flow.isProtected || flow.hasPromisedEncryption {
                flow.abort(.shutdown, now: now, &output)
            } else if flow.phase == .opening || flow.phase == .accepting {
                flow.giveUpNegotiation(&output)
                settle(flow, &output)
            }
            flow.dropHeld(&output)
        }
    }

    // MARK: What outlives the daemon

    /// Flows that were encrypted when an earlier daemon died (from the journal): never plain again, but ended at
    /// both ends by ``handleDeadlines(now:into:)``.
    public mutating func condemn(_ flows: [CondemnedFlow], now: Instant) { condemned.add(flows, now: now) }

    /// MPTCP connections older than the daemon that were never encrypted: their joins are none of our business.
    public mutating func adoptPlain(tokens: [(local: UInt32, remote: UInt32)]) {
        host.locked { host.tracker.adoptPlain(tokens) }
    }

    // MARK: Chores

    /// Forgets idle flows that have no socket any more, given every TCP socket of the namespace; the most of them in the next calls
    /// of ``handleDeadlines(now:into:)``, where there are many.
    public mutating func reconcile(sockets: Set<FlowTuple>, now: Instant, into output: inout Output) {
        plainFlows.retain(sockets, now: now)
        chores.reconciliation = Chores.Reconciliation(sockets: sockets, since: now)
        reconcileSome(&output)
    }

    /// Forgets every cached session; connections go on.
    public mutating func flushSessions() {
        host.locked {
            host.sessions.flush()
            chores.isErasing = true
        }
    }

    /// Gives encrypted connections new keys (RFC 8548 section 3.8), some at a time.
    ///
    /// - Returns: how many of these; for others the end has been signed already.
    public mutating func rekey(now: Instant, from place: inout ReportPlace) -> Int {
        var count = 0
        for (_, flow) in flows.entries(from: &place.table, count: Chores.deadlines) where flow.requestRekeying(now) {
            count += 1
            schedule(flow)
        }
        place.isEnd = flows.isEnd(place.table)
        return count
    }

    /// Forgets cached sessions with a peer in `prefix`, among some of them from `place` on; connections go on.
    ///
    /// - Returns: how many were forgotten.
    public func flushSessions(peersIn prefix: IPPrefix, from place: inout ReportPlace) -> Int {
        var table = place.table
        var count = 0
        host.locked {
            count = host.sessions.remove(peersIn: prefix, from: &table, count: Chores.sessions)
            place.isEnd = host.sessions.isEnd(table)
        }
        place.table = table
        return count
    }

    private mutating func doChores(_ now: Instant, _ output: inout Output) {
        if chores.reconciliation != nil { reconcileSome(&output) }
        let isTime = nextExpiry <= now
        if isTime { nextExpiry = now.adding(milliseconds: 10_000) }
        if chores.isErasing || isTime {
            host.locked {
                chores.isErasing = host.sessions.erase(atMost: Chores.sessions, now: now.milliseconds)
            }
        }
        if chores.isExpiring || isTime {
            host.locked { chores.isExpiring = host.tracker.expire(now: now, atMost: Chores.connections) }
        }
    }

    private mutating func reconcileSome(_ output: inout Output) {
        guard var task = chores.reconciliation else { return }
        // The survey knows nothing of what happened behind it.
        let now = task.since
        for (tuple, flow) in flows.entries(from: &task.place, count: Chores.flows) where !task.sockets.contains(tuple) {
            let idle = now.milliseconds(since: flow.lastActivity)
            if idle > FlowTime.idleBeforeReconcile { remove(flow, now: now, &output) }
        }
        condemned.retain(task.sockets, now, from: &task.condemnedPlace, count: Chores.flows, &output)
        let isDone = flows.isEnd(task.place) && condemned.isEnd(task.condemnedPlace)
        chores.reconciliation = isDone ? nil : task
    }
}
