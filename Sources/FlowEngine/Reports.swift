import PacketWire
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
            role: keyFacts == nil ? nil : isOpener ? .a : .b, sessionID: sessionID, secretIndex: keyFacts?.index,
            plainBytesIn: traffic.plainIn, plainBytesOut: traffic.plainOut, wireBytesIn: traffic.wireIn,
            wireBytesOut: traffic.wireOut, authFailures: traffic.authFailures, reason: reason)
    }
}

extension PlainFlow {
    var report: SubflowReport {
        SubflowReport(
            local: tuple.local, remote: tuple.remote, state: .plain, origin: nil, tep: nil, aead: nil, role: nil,
            sessionID: [], secretIndex: nil, plainBytesIn: 0, plainBytesOut: 0, wireBytesIn: 0, wireBytesOut: 0,
            authFailures: 0, reason: reason)
    }
}

extension Engine {
    /// Every connection that goes on, as far as known: MPTCP with all subflows, then TCP, in a stable order.
    public func connections() -> [ConnectionReport] {
        var reports: [ConnectionReport] = []
        host.locked { reports = collectConnections() }
        return reports
    }

    private func collectConnections() -> [ConnectionReport] {
        var grouped: [ObjectIdentifier: ConnectionReport] = [:]
        var alone: [ConnectionReport] = []
        for flow in flows.values where !flow.hasEnded {
            guard let mptcp = flow.mptcp else {
                alone.append(ConnectionReport(flow.report))
                continue
            }
            let empty = ConnectionReport(
                isMPTCP: true, localToken: mptcp.localToken, remoteToken: mptcp.remoteToken, subflows: [])
            grouped[ObjectIdentifier(mptcp), default: empty].subflows.append(flow.report)
        }
        for flow in plainFlows.values {
            guard let tokens = flow.tokens else {
                alone.append(ConnectionReport(flow.report))
                continue
            }
            alone.append(
                ConnectionReport(
                    isMPTCP: true, localToken: tokens.local, remoteToken: tokens.remote, subflows: [flow.report]))
        }
        let all = grouped.values.map { $0.sorted } + alone
        return all.sorted { ($0.subflows.first?.order ?? "") < ($1.subflows.first?.order ?? "") }
    }

    /// How many flows go on, by state.
    public var flowCounts: [SubflowState: Int] {
        var counts: [SubflowState: Int] = [:]
        for flow in flows.values where !flow.hasEnded { counts[flow.state, default: 0] += 1 }
        counts[.plain, default: 0] += plainFlows.values.count
        return counts
    }

    /// How many sessions are cached.
    public var sessionCount: Int {
        var count = 0
        host.locked { count = host.sessions.count }
        return count
    }

    /// Cached sessions.
    public func sessions(now: Instant) -> [SessionReport] {
        var entries: [SessionCache.Entry] = []
        host.locked { entries = host.sessions.entries(now: now.milliseconds) }
        return entries.map {
            SessionReport(
                tep: $0.tep, aead: $0.aead, originalRole: $0.role, nextIndex: $0.nextIndex, peers: $0.peers,
                ageMilliseconds: $0.ageMilliseconds)
        }
    }

    /// Whether the kernel finds out by itself what paths take (`net.ipv4.tcp_mtu_probing`).
    public var kernelProbesPaths: Bool {
        get { host.kernelProbesPaths }
        set { host.kernelProbesPaths = newValue }
    }

    /// Forgets every cached session; connections go on.
    public mutating func flushSessions() { host.locked { host.sessions.flush() } }

    public var counters: EngineCounters { host.counters }
}

extension ConnectionReport {
    fileprivate init(_ subflow: SubflowReport) {
        self.init(isMPTCP: false, localToken: nil, remoteToken: nil, subflows: [subflow])
    }

    /// The first subflow before its joins.
    fileprivate var sorted: ConnectionReport {
        var copy = self
        copy.subflows.sort { ($0.origin == .join ? 1 : 0, $0.order) < ($1.origin == .join ? 1 : 0, $1.order) }
        return copy
    }
}

extension SubflowReport {
    fileprivate var order: String { "\(local)-\(remote)" }
}
