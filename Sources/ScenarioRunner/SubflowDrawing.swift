/// The subflows that a daemon knows of, each on its way through the network.
public struct SubflowDrawing {
    public let lines: [String]

    /// - Parameter connections: as `tcpcryptctl connections --json` of that host has them.
    public init(_ connections: Value, of host: String, in topology: Topology) {
        guard case .list(let connections) = connections else {
            lines = []
            return
        }
        lines = connections.flatMap { SubflowDrawing.lines(of: $0, host, topology) }
    }

    private static func lines(of connection: Value, _ host: String, _ topology: Topology) -> [String] {
        guard case .object(let members) = connection, case .list(let subflows)? = members["subflows"] else { return [] }
        let tokens = ["local_token", "remote_token"].compactMap { name -> String? in
            if case .text(let token)? = members[name] { token } else { nil }
        }
        let head =
            "\(members["kind"]?.plain ?? "?")" + (tokens.isEmpty ? "" : "  tokens \(tokens.joined(separator: " "))")
        return [head]
            + subflows.map { subflow in
                guard case .object(let subflow) = subflow else { return "  ?" }
                return "  " + line(of: subflow, host, topology)
            }
    }

    private static func line(of subflow: [String: Value], _ host: String, _ topology: Topology) -> String {
        func text(_ name: String) -> String { subflow[name].map { $0 == .null ? "" : $0.plain } ?? "" }
        let state = text("state")
        let stroke = state == "encrypted" ? "══" : state == "plain" ? "──" : "╌╌"
        let local = text("local")
        let remote = text("remote")
        let way = (way(local, remote, host, topology) ?? ["?"]).joined(separator: " \(stroke) ")
        let kind = [state, text("origin"), text("aead")].filter { !$0.isEmpty }.joined(separator: ", ")
        let why = text("reason").isEmpty ? "" : ": \(text("reason"))"
        let bytes = "out \(amount(subflow["plain_bytes_out"])), in \(amount(subflow["plain_bytes_in"]))"
        return "\(local) \(stroke) \(way) \(stroke) \(remote)   \(kind)\(why); \(bytes)"
    }

    /// The nodes between the two ends, from where the addresses are.
    private static func way(_ local: String, _ remote: String, _ host: String, _ topology: Topology) -> [String]? {
        guard let here = address(in: local), let there = address(in: remote),
            let start = topology.ends(of: host).first(where: { isIn(here, $0) }),
            let from = topology.segments().firstIndex(where: { $0.contains(start) })
        else { return nil }
        let others = topology.ends.filter { $0.node != host && isIn(there, $0) }
        // An address that came later is that of a host in the same network.
        let end =
            others.first { $0.addresses.contains { $0.bytes == there.bytes } }
            ?? others.first { topology.node($0.node)?.kind == .host }
        return end.flatMap { Drawing(topology).nodes(fromSegment: from, to: $0.node) }
    }

    private static func address(in text: String) -> Address? {
        text.lastIndex(of: ":").flatMap { Address(text[..<$0].filter { $0 != "[" && $0 != "]" }) }
    }

    private static func isIn(_ address: Address, _ end: Topology.End) -> Bool {
        end.addresses.contains { known in Address("\(address.host)/\(known.length)")?.isNeighbour(of: known) ?? false }
    }

    private static func amount(_ value: Value?) -> String {
        guard case .number(let bytes)? = value else { return "?" }
        let (size, unit) = bytes >= 1e6 ? (bytes / 1e6, "MB") : bytes >= 1e3 ? (bytes / 1e3, "kB") : (bytes, "bytes")
        let tenths = (size * 10).rounded() / 10
        return Value.number(tenths).plain + " " + unit
    }
}
