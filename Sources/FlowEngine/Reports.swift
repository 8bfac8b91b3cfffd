import PacketWire
import Tables
import Tcpcrypt

extension Flow {
    var state: SubflowState {
        switch phase {
        case .encrypted: .encrypted
        case .plain, .observing: .plain
        case .opening, .accepting, .keyExchange, .aborted: .handshake
        }
    }

    var report: SubflowReport {
        SubflowReport(
            local: tuple.local, remote: tuple.remote, state: state, origin: origin, tep: tep, aead: keyFacts?.aead,
            role: keyFacts == nil ? nil : role, peerApplicationAware: peerIsApplicationAware, sessionID: sessionID,
            secretIndex: keyFacts?.index, localGeneration: sealer?.generation, remoteGeneration: opener?.generation,
            plainBytesIn: traffic.plainIn, plainBytesOut: traffic.plainOut, wireBytesIn: traffic.wireIn,
            wireBytesOut: traffic.wireOut, authFailures: traffic.authFailures, reason: reason)
    }
}

extension PlainFlow {
    var report: SubflowReport {
        SubflowReport(
            local: tuple.local, remote: tuple.remote, state: .plain, origin: nil, tep: nil, aead: nil, role: nil,
            peerApplicationAware: nil, sessionID: [], secretIndex: nil, localGeneration: nil, remoteGeneration: nil,
            plainBytesIn: 0, plainBytesOut: 0, wireBytesIn: 0, wireBytesOut: 0,
            authFailures: 0, reason: reason)
    }
}

extension Engine {
    /// Every connection that goes on, as far as known: MPTCP with all subflows, then TCP, in a stable order.
    public func connections() -> [ConnectionReport] {
        var reports: [ConnectionReport] = []
        var place = ReportPlace()
        while !place.isEnd { reports += connections(from: &place) }
        return ConnectionReport.merged(reports)
    }

    /// Some of them, in no order, and MPTCP connections with some of their subflows; for whoever has packets to serve. What belongs together
    /// is put together by ``ConnectionReport/merged(_:)``.
    public func connections(from place: inout ReportPlace) -> [ConnectionReport] {
        var reports: [ConnectionReport] = []
        var table = place.table
        host.locked {
            for (_, flow) in flows.entries(from: &table, count: ReportPlace.count) where !flow.hasEnded {
                reports.append(
                    ConnectionReport(
                        isMPTCP: flow.mptcp != nil, localToken: flow.mptcp?.localToken,
                        remoteToken: flow.mptcp?.remoteToken, subflows: [flow.report]))
            }
        }
        place.table = table
        place.isEnd = flows.isEnd(table)
        return place.isEnd ? reports + plainFlows.values.map(ConnectionReport.init) : reports
    }

    /// How many flows go on, by state.
    public var flowCounts: [SubflowState: Int] {
        var counts: [SubflowState: Int] = [:]
        var place = ReportPlace()
        while !place.isEnd { countFlows(from: &place, into: &counts) }
        return counts
    }

    /// The same in pieces: adds some of them.
    public func countFlows(from place: inout ReportPlace, into counts: inout [SubflowState: Int]) {
        for (_, flow) in flows.entries(from: &place.table, count: 4 * ReportPlace.count) where !flow.hasEnded {
            counts[flow.state, default: 0] += 1
        }
        place.isEnd = flows.isEnd(place.table)
        if place.isEnd { counts[.plain, default: 0] += plainFlows.values.count }
    }

    /// How many sessions are cached.
    public var sessionCount: Int {
        var count = 0
        host.locked { count = host.sessions.count }
        return count
    }

    /// Cached sessions, most recently used first.
    public func sessions(now: Instant) -> [SessionReport] {
        var reports: [SessionReport] = []
        var place = ReportPlace()
        while !place.isEnd { reports += sessions(now: now, from: &place) }
        return SessionReport.merged(reports)
    }

    /// Some of them, in no order, for ``SessionReport/merged(_:)``.
    public func sessions(now: Instant, from place: inout ReportPlace) -> [SessionReport] {
        var entries: [SessionCache.Entry] = []
        var table = place.table
        host.locked {
            entries = host.sessions.entries(now: now.milliseconds, from: &table, count: ReportPlace.count)
            place.isEnd = host.sessions.isEnd(table)
        }
        place.table = table
        return entries.map(SessionReport.init)
    }

    /// Whether the kernel finds out by itself what paths take (`net.ipv4.tcp_mtu_probing`).
    public var kernelProbesPaths: Bool {
        get { host.kernelProbesPaths }
        set { host.kernelProbesPaths = newValue }
    }

    /// Whether the system's randomness is seeded; until it is no connection is negotiated (RFC 8547 section 10).
    public var isRandomnessSeeded: Bool {
        get { host.isRandomnessSeeded }
        set { host.isRandomnessSeeded = newValue }
    }

    public var counters: EngineCounters { host.counters }
}

/// Where a report in pieces goes on.
public struct ReportPlace: Sendable {
    var table = 0
    /// Nothing is left.
    public internal(set) var isEnd = false

    /// At least so many at once.
    static let count = 512

    public init() {}
}

extension ConnectionReport {
    fileprivate init(_ flow: PlainFlow) {
        self.init(
            isMPTCP: flow.tokens != nil, localToken: flow.tokens?.local, remoteToken: flow.tokens?.remote,
            subflows: [flow.report])
    }

    /// Puts the subflows of each MPTCP connection together, the first before its joins, and all in a stable order. What was reported twice
    /// counts once.
    public static func merged(_ parts: [ConnectionReport]) -> [ConnectionReport] {
        var all: [(key: String, report: ConnectionReport)] = []
        var places: [Tokens: Int] = [:]
        var known: Set<FlowTuple> = []
        for part in parts {
            let subflows = part.subflows.filter {
                known.insert(FlowTuple(local: $0.local, remote: $0.remote)).inserted
            }
            guard !subflows.isEmpty else { continue }
            let tokens = Tokens(part)
            if let place = tokens.flatMap({ places[$0] }) {
                all[place].report.subflows += subflows
                continue
            }
            if let tokens { places[tokens] = all.count }
            var report = part
            report.subflows = subflows
            all.append(("", report))
        }
        for index in all.indices {
            all[index].report.sortSubflows()
            all[index].key = all[index].report.subflows.first?.order ?? ""
        }
        return all.sorted { $0.key < $1.key }.map(\.report)
    }

    /// What names an MPTCP connection at every engine.
    private struct Tokens: Hashable {
        var local: UInt32
        var remote: UInt32?

        init?(_ report: ConnectionReport) {
            guard report.isMPTCP, let local = report.localToken else { return nil }
            self.local = local
            remote = report.remoteToken
        }
    }

    private mutating func sortSubflows() {
        guard subflows.count > 1 else { return }
        subflows.sort { ($0.origin == .join ? 1 : 0, $0.order) < ($1.origin == .join ? 1 : 0, $1.order) }
    }
}

extension SubflowReport {
    fileprivate var order: String { "\(local)-\(remote)" }
}

extension SessionReport {
    fileprivate init(_ entry: SessionCache.Entry) {
        self.init(
            tep: entry.tep, aead: entry.aead, originalRole: entry.role, nextIndex: entry.nextIndex, peers: entry.peers,
            ageMilliseconds: entry.ageMilliseconds, number: entry.number, lastUse: entry.lastUse)
    }

    /// The most recently used first. What was reported twice counts once.
    public static func merged(_ parts: [SessionReport]) -> [SessionReport] {
        var known: Set<Int> = []
        return parts.sorted { $0.lastUse > $1.lastUse }.filter { known.insert($0.number).inserted }
    }
}
