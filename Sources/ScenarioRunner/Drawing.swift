/// A network as text: the first host on the left, the second on the right, each way between them a line, and below what else there is.
public struct Drawing {
    private let topology: Topology

    public init(_ topology: Topology) { self.topology = topology }

    /// One link on a way, from where one comes to where one gets.
    private struct Hop {
        let link: Topology.Link
        let from: Topology.End
        let to: Topology.End
    }

    public var lines: [String] {
        let hosts = topology.hosts
        guard let left = hosts.first,
            let right = hosts.dropFirst().last(where: { !self.ways(left.name, $0.name).isEmpty })
        else {
            return links(without: [])
        }
        let ways = self.ways(left.name, right.name)
        var drawn: Set<String> = []
        var rows: [(left: String, middle: String, right: String)] = []
        for way in ways {
            guard let first = way.first, let last = way.last else { continue }
            drawn.formUnion(way.map(\.link.name))
            rows += Drawing.rows(first.from, middle(of: way), last.to)
        }
        let widths = (
            left: rows.map(\.left.count).max() ?? 0, middle: rows.map(\.middle.count).max() ?? 0,
            right: rows.map(\.right.count).max() ?? 0
        )
        func frame(_ corners: (String, String), _ name: String, _ width: Int) -> String {
            let head = name.isEmpty ? "" : " \(name) "
            return corners.0 + head + String(repeating: "─", count: max(0, width + 2 - head.count)) + corners.1
        }
        let gap = String(repeating: " ", count: widths.middle)
        let top = frame(("┌", "┐"), left.name, widths.left) + gap + frame(("┌", "┐"), right.name, widths.right)
        let bottom = frame(("└", "┘"), "", widths.left) + gap + frame(("└", "┘"), "", widths.right)
        let body = rows.map { row in
            let isWay = !row.middle.isEmpty
            let filler = String(repeating: isWay ? "─" : " ", count: widths.middle - row.middle.count)
            return "│ \(padded(row.left, widths.left)) \(isWay ? "├" : "│")\(row.middle)\(filler)\(isWay ? "┤" : "│") "
                + "\(padded(row.right, widths.right)) │"
        }
        return [top] + body + [bottom] + links(without: drawn) + endpoints
    }

    private func padded(_ text: String, _ width: Int) -> String {
        text + String(repeating: " ", count: max(0, width - text.count))
    }

    /// A device and its addresses at either end, the way beside the first of them.
    private static func rows(
        _ left: Topology.End, _ middle: String, _ right: Topology.End
    ) -> [(left: String, middle: String, right: String)] {
        func cells(_ end: Topology.End) -> [String] {
            let indent = String(repeating: " ", count: end.device.count)
            let addresses = end.addresses.map(\.text)
            return ["\(end.device) \(addresses.first ?? "")"] + addresses.dropFirst().map { "\(indent) \($0)" }
        }
        let (left, right) = (cells(left), cells(right))
        return (0..<max(left.count, right.count)).map { index in
            (index < left.count ? left[index] : "", index == 0 ? middle : "", index < right.count ? right[index] : "")
        }
    }

    private func middle(of way: [Hop]) -> String {
        var text = ""
        for hop in way {
            let isForward = hop.link.left == hop.from
            var link = hop.link
            if !isForward {
                (link.rate, link.rateToLeft) = (link.rateToLeft ?? link.rate, link.rateToLeft == nil ? nil : link.rate)
            }
            let properties = link.properties
            text += properties.isEmpty ? "──" : "── \(properties.joined(separator: ", ")) ──"
            if let node = topology.node(hop.to.node), node.kind != .host {
                text += " \(node.name)\(node.kind == .router ? "" : " (\(node.kind.rawValue))") "
            }
        }
        return text
    }

    /// All ways between two nodes that pass no host and nothing twice.
    private func ways(_ from: String, _ to: String) -> [[Hop]] {
        func go(_ node: String, _ passed: Set<String>) -> [[Hop]] {
            topology.links.flatMap { link -> [[Hop]] in
                [(link.left, link.right), (link.right, link.left)].flatMap { here, there -> [[Hop]] in
                    guard here.node == node, !passed.contains(there.node) else { return [] }
                    let hop = Hop(link: link, from: here, to: there)
                    if there.node == to { return [[hop]] }
                    guard let next = topology.node(there.node), next.kind != .host, next.kind != .eavesdropper else {
                        return []
                    }
                    return go(there.node, passed.union([there.node])).map { [hop] + $0 }
                }
            }
        }
        return go(from, [from])
    }

    private func links(without drawn: Set<String>) -> [String] {
        topology.links.filter { !drawn.contains($0.name) }.map { link in
            func text(_ end: Topology.End) -> String {
                let kind = topology.node(end.node)?.kind.rawValue ?? "?"
                return ([end.node, "(\(kind))", end.device] + end.addresses.map(\.text)).joined(separator: " ")
            }
            let middle = link.properties.isEmpty ? "──" : "── \(link.properties.joined(separator: ", ")) ──"
            return "  \(text(link.left)) \(middle) \(text(link.right))"
        }
    }

    private var endpoints: [String] {
        topology.endpoints.sorted { $0.key < $1.key }.flatMap { node, endpoints in
            endpoints.map { "  \(node): MPTCP endpoint \($0)" }
        }
    }

    /// The nodes that a packet from that segment passes on its way to a node, the fewest.
    func nodes(fromSegment from: Int, to target: String) -> [String]? {
        let segments = topology.segments()
        func between(_ segment: Int) -> [String] {
            topology.nodes.filter { node in
                node.kind == .bridge
                    && segments[segment].contains { end in
                        topology.links.contains { $0.ends.contains(end) && $0.ends.contains { $0.node == node.name } }
                    }
            }.map(\.name)
        }
        var open: [(segment: Int, way: [String])] = [(from, between(from))]
        var seen: Set<Int> = [from]
        while !open.isEmpty {
            let (segment, way) = open.removeFirst()
            if segments[segment].contains(where: { $0.node == target }) { return way }
            for node in topology.nodes
            where node.kind.forwards && segments[segment].contains(where: { $0.node == node.name }) {
                for (index, ends) in segments.enumerated()
                where !seen.contains(index) && ends.contains(where: { $0.node == node.name }) {
                    seen.insert(index)
                    open.append((index, way + [node.name] + between(index)))
                }
            }
        }
        return nil
    }
}
