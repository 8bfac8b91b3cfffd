/// What makes a topology: one shell script, to be run as root with `-e`.
struct TopologyScript {
    let topology: Topology
    /// What namespaces begin with.
    let prefix: String

    func namespace(_ node: String) -> String { "\(prefix)-\(node)" }
    private func on(_ node: String) -> String { "ip netns exec \(namespace(node))" }
    private func ip(_ node: String) -> String { "ip -n \(namespace(node))" }

    var text: String {
        let routing = Routing(topology)
        let lines =
            topology.nodes.flatMap(lines(of:)) + topology.links.flatMap(lines(of:))
            + topology.nodes.flatMap { routes(of: $0, routing) } + topology.nodes.flatMap(last(of:))
        return lines.joined(separator: "\n") + "\n"
    }

    private func lines(of node: Topology.Node) -> [String] {
        var lines = ["ip netns add \(namespace(node.name))", "\(ip(node.name)) link set lo up"]
        if node.kind.isSilent {
            lines.append(
                "\(on(node.name)) sysctl -q -w net.ipv6.conf.all.disable_ipv6=1 net.ipv6.conf.default.disable_ipv6=1")
        } else {
            // Loose on purpose: with two paths the way back is not always the way there.
            lines.append(
                "\(on(node.name)) sysctl -q -w net.ipv4.conf.all.rp_filter=0 net.ipv4.conf.default.rp_filter=0"
                    + " net.ipv6.conf.all.accept_dad=0 net.ipv6.conf.default.accept_dad=0"
                    + " net.ipv6.conf.default.router_solicitations=0")
        }
        switch node.kind {
        case .host:
            // The same on every machine.
            lines.append(
                "\(on(node.name)) sysctl -q -w net.ipv4.tcp_congestion_control=cubic 2>/dev/null"
                    + " || \(on(node.name)) sysctl -q -w net.ipv4.tcp_congestion_control=reno")
            lines.append("\(ip(node.name)) mptcp limits set subflows 8 add_addr_accepted 8")
        case .router, .nat:
            lines.append("\(on(node.name)) sysctl -q -w net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1")
        case .bridge:
            lines.append("\(ip(node.name)) link add br0 type bridge\(isOverheard(node) ? " ageing_time 0" : "")")
            lines.append("\(ip(node.name)) link set br0 up")
        case .eavesdropper: break
        }
        return lines
    }

    private func isOverheard(_ bridge: Topology.Node) -> Bool {
        topology.links.contains { link in
            link.ends.contains { $0.node == bridge.name }
                && link.ends.contains { topology.node($0.node)?.kind == .eavesdropper }
        }
    }

    private func lines(of link: Topology.Link) -> [String] {
        var lines: [String] = []
        let (left, right) = (link.left, link.right)
        if link.wire != nil {
            let wire = namespace(link.wireNode)
            // The wire itself is no host: it must say nothing of its own.
            lines += [
                "ip netns add \(wire)",
                "ip netns exec \(wire) sysctl -q -w net.ipv6.conf.all.disable_ipv6=1 net.ipv6.conf.default.disable_ipv6=1",
                "ip link add \(left.device) netns \(namespace(left.node)) type veth peer name left netns \(wire)",
                "ip link add \(right.device) netns \(namespace(right.node)) type veth peer name right netns \(wire)",
                "ip -n \(wire) link set left mtu 65535 up", "ip -n \(wire) link set right mtu 65535 up",
            ]
            // What travels are segments with finished checksums, as on a real wire.
            lines += link.ends.map { "\(on($0.node)) ethtool -K \($0.device) tso off gro off tx off >/dev/null" }
        } else {
            lines.append(
                "ip link add \(left.device) netns \(namespace(left.node)) type veth peer name \(right.device)"
                    + " netns \(namespace(right.node))")
        }
        for end in link.ends {
            lines += end.addresses.map { TopologyScript.addition(of: $0, to: end, ip: ip(end.node)) }
            if let mtu = link.mtu { lines.append("\(ip(end.node)) link set \(end.device) mtu \(mtu)") }
            if topology.node(end.node)?.kind == .bridge {
                lines.append("\(ip(end.node)) link set \(end.device) master br0")
            }
            lines.append("\(ip(end.node)) link set \(end.device) up")
        }
        return lines + shaping(of: link)
    }

    /// Each end sends no faster than its direction's rate.
    func shaping(of link: Topology.Link) -> [String] {
        [(link.left, link.rate), (link.right, link.rateToLeft ?? link.rate)].compactMap { end, rate in
            rate.map {
                "\(on(end.node)) tc qdisc replace dev \(end.device) root tbf rate \($0) burst 256k latency 50ms"
            }
        }
    }

    static func addition(of address: Address, to end: Topology.End, ip: String) -> String {
        address.version == 4
            ? "\(ip) address add \(address.text) dev \(end.device)"
            : "\(ip) -6 address add \(address.text) dev \(end.device) nodad"
    }

    private func routes(of node: Topology.Node, _ routing: Routing) -> [String] {
        let rules = routing.rules(of: node).map { "\(ip(node.name)) -\($0.version) \($0.command)" }
        return rules + routes(of: node.name)
    }

    /// The routes of a node, those of devices that are down or without an address not among them when it is run with `+e`.
    func routes(of node: String) -> [String] {
        guard let node = topology.node(node) else { return [] }
        return Routing(topology).routes(of: node).map { "\(ip(node.name)) -\($0.version) \($0.command)" }
    }

    private func last(of node: Topology.Node) -> [String] {
        var lines = (topology.endpoints[node.name] ?? []).map { "\(ip(node.name)) mptcp endpoint add \($0)" }
        if node.kind == .nat, let outside = node.outside {
            lines += ["iptables", "ip6tables"].map {
                "\(on(node.name)) \($0) -t nat -A POSTROUTING -o \(outside) -j MASQUERADE"
            }
        }
        return lines
    }
}
