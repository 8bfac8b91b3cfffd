/// The routes that follow from where addresses are, so that nobody has to write them down.
///
/// A node reaches a network that it is not in over the neighbour from which fewest routers have to be passed; a host is one only as the
/// last on the way, since it forwards nothing. Nothing is led into a NAT from outside. Where a node chooses by source, each device
/// has a table of its own, and the main one has all devices, the best first: what one loses another takes over.
struct Routing {
    struct Route: Equatable {
        var version: Int
        var network: String
        var gateway: String
        var device: String
        var metric: Int
        /// Nil for the main one.
        var table: Int?

        var command: String {
            "route replace \(network) via \(gateway) dev \(device) metric \(metric)"
                + (table.map { " table \($0)" } ?? "")
        }
    }
    struct Rule: Equatable {
        var version: Int
        var network: String
        var table: Int

        var command: String { "rule add from \(network) lookup \(table)" }
    }

    private struct Way {
        /// Hosts as the last on the way count more than any number of routers.
        var cost: Int
        var gateway: Address
        var device: String
    }

    private let topology: Topology
    private let segments: [[Topology.End]]
    private static let hostCost = 100

    init(_ topology: Topology) {
        self.topology = topology
        segments = topology.segments()
    }

    func rules(of node: Topology.Node) -> [Rule] {
        guard node.routesBySource else { return [] }
        return topology.ends(of: node.name).enumerated().flatMap { index, end in
            unique(end.addresses) { $0.network }.map {
                Rule(version: $0.version, network: $0.network, table: 101 + index)
            }
        }
    }

    func routes(of node: Topology.Node) -> [Route] {
        guard !node.kind.isSilent else { return [] }
        let ends = topology.ends(of: node.name)
        return [4, 6].flatMap { version in
            let ways = ends.map { self.ways(from: $0, version) }
            let own = Set(ends.flatMap(\.addresses).map(\.network))
            let networks = unique(ways.flatMap { $0.map(\.network) }) { $0 }
            var routes: [Route] = []
            for network in networks where !own.contains(network) {
                let found = ways.compactMap { $0.first { $0.network == network }?.way }.enumerated()
                    .sorted { ($0.element.cost, $0.offset) < ($1.element.cost, $1.offset) }
                for (rank, way) in found.prefix(node.routesBySource ? found.count : 1).enumerated() {
                    routes.append(route(version, network, way.element, metric: 100 + rank, table: nil))
                }
            }
            guard node.routesBySource else { return routes }
            for (index, ways) in ways.enumerated() {
                routes += ways.map { route(version, $0.network, $0.way, metric: 100, table: 101 + index) }
            }
            return routes
        }
    }

    private func route(_ version: Int, _ network: String, _ way: Way, metric: Int, table: Int?) -> Route {
        Route(
            version: version, network: network, gateway: way.gateway.host, device: way.device, metric: metric,
            table: table)
    }

    /// The networks that can be reached when packets leave by that device, nearest first, each with its best way.
    private func ways(from end: Topology.End, _ version: Int) -> [(network: String, way: Way)] {
        guard let start = segments.firstIndex(where: { $0.contains(end) }), let own = end.first(version) else {
            return []
        }
        var found: [(network: String, way: Way)] = []
        for neighbour in segments[start] where neighbour.node != end.node {
            guard let gateway = neighbour.addresses.first(where: { $0.isNeighbour(of: own) }) else { continue }
            for (segment, cost) in beyond(neighbour, without: end.node) where segment != start {
                let way = Way(cost: cost, gateway: gateway, device: end.device)
                for address in unique(segments[segment].flatMap(\.addresses), by: \.network)
                where address.version == version {
                    if let known = found.firstIndex(where: { $0.network == address.network }) {
                        if cost < found[known].way.cost { found[known].way = way }
                    } else {
                        found.append((address.network, way))
                    }
                }
            }
        }
        return found.filter { !$0.network.isEmpty && $0.network != own.network }
    }

    /// Segments that a packet gets to which is handed to that device, with what it costs. It never comes back to where it is from.
    private func beyond(_ first: Topology.End, without origin: String) -> [(segment: Int, cost: Int)] {
        var costs: [Int: Int] = [:]
        var open: [(end: Topology.End, cost: Int)] = [(first, 1)]
        var passed: Set<String> = [origin]
        while !open.isEmpty {
            let (end, cost) = open.removeFirst()
            guard let node = topology.node(end.node), !passed.contains(node.name) else { continue }
            if node.kind == .nat, node.outside == end.device { continue }
            let total = cost + (node.kind.forwards ? 0 : Routing.hostCost)
            for index in segments.indices where segments[index].contains(where: { $0.node == node.name }) {
                costs[index] = min(costs[index] ?? Int.max, total)
                guard node.kind.forwards, !segments[index].contains(end) else { continue }
                open += segments[index].filter { $0.node != node.name }.map { ($0, cost + 1) }
            }
            passed.insert(node.name)
        }
        return costs.sorted { ($0.value, $0.key) < ($1.value, $1.key) }.map { ($0.key, $0.value) }
    }
}

/// Each once, in order.
private func unique<Element, Key: Hashable>(_ elements: [Element], by key: (Element) -> Key) -> [Element] {
    var seen: Set<Key> = []
    return elements.filter { seen.insert(key($0)).inserted }
}
