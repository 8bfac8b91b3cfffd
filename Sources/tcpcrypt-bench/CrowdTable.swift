import FlowEngine

/// Whether what the engines do takes longer when they have much to keep.
extension TableSpecification {
    static let crowdedEngines = TableSpecification(
        name: "crowd-engines", title: "The engines in memory, with many connections and sessions",
        note:
            "One core; medians, for the connection or peer that was the last one too, and for any other; and the longest call of either engine, which all other packets wait for. There may be \(EngineConfiguration().maximumFlows) connections and, in the daemon, \(EngineConfiguration().maximumSessions) sessions.",
        metrics: [
            Metric(name: "us again", unit: "µs", isBetterHigh: false),
            Metric(name: "us another", unit: "µs", isBetterHigh: false),
            Metric(name: "longest us", unit: "µs", isBetterHigh: false, digits: 0),
        ],
        rows: sizes.flatMap(rows), roundsAtMost: 1)

    private static let sizes = [
        Crowd.Size(connections: 1, sessions: 1), Crowd.Size(connections: 200_000, sessions: 1),
        Crowd.Size(connections: 1, sessions: 1, isMultipath: true),
        Crowd.Size(connections: 200_000, sessions: 1, isMultipath: true),
        Crowd.Size(connections: 1, sessions: 1_000_000), Crowd.Size(connections: 200_000, sessions: 1_000_000),
    ]

    private static func rows(_ size: Crowd.Size) -> [RowSpecification] {
        let row = { (name: String, measure: @escaping @Sendable (Crowd) throws -> [Double]) in
            let open = "\(size.connections) open\(size.isMultipath ? " (MPTCP)" : "")"
            return RowSpecification(name: "\(open), \(size.sessions) cached: \(name)") { bench in
                if bench.crowd?.size != size {
                    bench.crowd = nil
                    bench.crowd = try Crowd(size)
                }
                return try bench.crowd.map(measure) ?? []
            }
        }
        return [
            row("growing to so many sessions") { [.nan, .nan, $0.longestOfSessions * 1e6] },
            row("growing to so many connections") { [.nan, .nan, $0.longestOfConnections * 1e6] },
            row("bytes for each session") { [.nan, $0.sessionMemory, .nan] },
            row("bytes for each connection") { [.nan, $0.connectionMemory, .nan] },
            row("packet of 1,400 bytes, sender's engine") { try $0.packets { $0.client } },
            row("packet of 1,400 bytes, receiver's engine") { try $0.packets { $0.server } },
            row("connection resumed, both engines") { try $0.resumptions() },
            row("connection with fresh keys, both engines") { try $0.keyExchanges() },
            row(size.isMultipath ? "join without proof" : "join that names no connection") { try $0.refusals() },
            row("20,000 become idle at once, for each") { try $0.deadlines() },
            row("comparing with sockets, for each connection") { $0.reconciliation() },
            row("counting connections by state, in all") { crowd in
                var counts: [SubflowState: Int] = [:]
                return crowd.report { $0.countFlows(from: &$1, into: &counts) }
            },
            row("listing connections, in all") { $0.report { _ = $0.connections(from: &$1) } },
            row("listing sessions, in all") { crowd in
                crowd.report { _ = $0.sessions(now: crowd.pair.now, from: &$1) }
            },
            row("forgetting sessions, in all") { $0.flush() },
            row("resetting all for a stop") { $0.stop() },
        ]
    }
}
