/// Hosts and what is between them.
public struct Topology: Equatable, Sendable {
    public enum Kind: String, CaseIterable, Sendable {
        /// Has applications, and may have a daemon.
        case host
        /// Forwards.
        case router
        /// Forwards, and shows what comes from inside as its own.
        case nat
        /// Joins its links to one; with an eavesdropper at it, it repeats every frame to all.
        case bridge
        /// Sees, and says nothing.
        case eavesdropper

        var forwards: Bool { self == .router || self == .nat }
        var isSilent: Bool { self == .bridge || self == .eavesdropper }
    }

    public struct Node: Equatable, Sendable {
        public var name: String
        public var kind: Kind
        /// The device of a NAT behind which its addresses are hidden.
        public var outside: String?
        /// What it sends leaves by the device that has the source address.
        public var routesBySource = false
    }

    /// A device of a node.
    public struct End: Equatable, Sendable {
        public var node: String
        public var device: String
        public var addresses: [Address]

        var name: String { "\(node).\(device)" }
        func first(_ version: Int) -> Address? { addresses.first { $0.version == version } }
    }

    public struct Link: Equatable, Sendable {
        public var name: String
        public var left: End
        public var right: End
        /// Of each direction, as tc(8) writes it: `100mbit`.
        public var rate: String?
        /// Where the left end's rate is another one.
        public var rateToLeft: String?
        public var mtu: Int?
        /// Devices of tcpcrypt-wire that packets pass, in both directions.
        public var wire: String?

        public var ends: [End] { [left, right] }
        /// The namespace of its wire.
        var wireNode: String { "w-\(name)" }
        /// What is said of it beside its name.
        var properties: [String] {
            let rates = rateToLeft.map { "\(rate ?? "full speed") right, \($0) left" } ?? rate
            return [rates, mtu.map { "MTU \($0)" }, wire].compactMap { $0 }
        }
    }

    public var nodes: [Node] = []
    public var links: [Link] = []
    /// MPTCP endpoints of a node, as `ip mptcp endpoint add` takes them.
    public var endpoints: [String: [String]] = [:]

    public init() {}

    public func node(_ name: String) -> Node? { nodes.first { $0.name == name } }
    public func link(_ name: String) -> Link? { links.first { $0.name == name } }
    public var ends: [End] { links.flatMap(\.ends) }
    public func ends(of node: String) -> [End] { ends.filter { $0.node == node } }
    /// `a.p1`
    public func end(_ name: String) -> End? { ends.first { $0.name == name } }
    public var hosts: [Node] { nodes.filter { $0.kind == .host } }

    /// The first address of a host.
    public func address(of node: String, version: Int) -> Address? {
        ends(of: node).lazy.compactMap { $0.first(version) }.first
    }

    /// The devices that a frame can get to without being forwarded: those of a link, or of all links of a bridge.
    func segments() -> [[End]] {
        var segments: [[End]] = []
        var open = links
        while let first = open.first {
            var names: Set<String> = []
            var ends: [End] = []
            var bridges = Set(first.ends.map(\.node).filter { node($0)?.kind == .bridge })
            var grew = true
            while grew {
                grew = false
                for link in open where !names.contains(link.name) {
                    guard link.name == first.name || link.ends.contains(where: { bridges.contains($0.node) }) else {
                        continue
                    }
                    names.insert(link.name)
                    for end in link.ends {
                        if node(end.node)?.kind == .bridge { bridges.insert(end.node) } else { ends.append(end) }
                    }
                    grew = true
                }
            }
            open.removeAll { names.contains($0.name) }
            segments.append(ends)
        }
        return segments
    }
}
