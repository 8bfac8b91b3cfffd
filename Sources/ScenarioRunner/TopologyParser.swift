/// Reads a topology: a preset by name, or one that is written out, or a preset and what is different.
struct TopologyParser {
    /// The text of a preset; nil where there is none of that name.
    let preset: (String) -> String?

    func parse(_ place: Place) throws(ScenarioProblem) -> Topology {
        var topology = Topology()
        if place.isMapping {
            try apply(place, to: &topology)
        } else {
            topology = try load(place)
        }
        try check(topology, place)
        return topology
    }

    private func load(_ name: Place) throws(ScenarioProblem) -> Topology {
        let word = try name.text()
        guard !word.contains("/"), let text = preset(word) else {
            throw name.problem("no topology is called \(word): Scenarios/topologies/\(word).yaml is not there")
        }
        var topology = Topology()
        try apply(Place.root(of: text, file: "topologies/\(word).yaml"), to: &topology)
        return topology
    }

    private func apply(_ place: Place, to topology: inout Topology) throws(ScenarioProblem) {
        var fields = try place.fields()
        if let name = fields.take("preset") { topology = try load(name) }
        // For who reads it.
        _ = fields.take("title")
        if let nodes = fields.take("nodes") {
            for (name, place) in try nodes.fields().all {
                let node = try node(name, place)
                topology.nodes.removeAll { $0.name == name }
                topology.nodes.append(node)
            }
        }
        if let links = fields.take("links") {
            for (name, place) in try links.fields().all { try link(name, place, in: &topology) }
        }
        if let endpoints = fields.take("endpoints") {
            for (name, place) in try endpoints.fields().all {
                guard topology.node(name)?.kind == .host else { throw place.problem("no host is called \(name)") }
                topology.endpoints[name] = try place.texts()
            }
        }
        try fields.finish()
    }

    private func node(_ name: String, _ place: Place) throws(ScenarioProblem) -> Topology.Node {
        // What namespaces, files and expressions are called after.
        guard let first = name.first, first.isLetter, name.count <= 12,
            name.allSatisfy({ $0.isASCII && ($0.isLetter || $0.isNumber) })
        else { throw place.problem("\(name): a node's name is a letter and up to 11 letters and digits") }
        var node = Topology.Node(name: name, kind: .host)
        if place.isMapping {
            try read(place, into: &node)
        } else {
            node.kind = try place.word(Topology.Kind.self)
        }
        if node.kind == .nat, node.outside == nil {
            throw place.problem("outside is missing: the device that hides addresses")
        }
        return node
    }

    private func read(_ place: Place, into node: inout Topology.Node) throws(ScenarioProblem) {
        var fields = try place.fields()
        node.kind = try fields.need("kind").word(Topology.Kind.self)
        if let outside = fields.take("outside") { node.outside = try outside.text() }
        if let routes = fields.take("routes") {
            guard try routes.text() == "by-source" else { throw routes.problem("routes can be by-source") }
            node.routesBySource = true
        }
        try fields.finish()
    }

    private func link(_ name: String, _ place: Place, in topology: inout Topology) throws(ScenarioProblem) {
        guard place.isMapping else {
            let (left, right) = try ends(place)
            return set(Topology.Link(name: name, left: left, right: right), in: &topology)
        }
        var fields = try place.fields()
        var link: Topology.Link
        if let both = fields.take("ends") {
            let (left, right) = try ends(both)
            link = Topology.Link(name: name, left: left, right: right)
        } else if let known = topology.link(name) {
            link = known
        } else {
            throw place.problem(
                "ends is missing, and the preset has no link \(name)" + hint(name, among: topology.links.map(\.name)))
        }
        if let rate = fields.take("rate") { try self.rate(rate, of: &link) }
        if let mtu = fields.take("mtu") { link.mtu = try mtu.whole() }
        if let wire = fields.take("wire") { link.wire = try wire.texts().joined(separator: " ") }
        try fields.finish()
        set(link, in: &topology)
    }

    private func rate(_ place: Place, of link: inout Topology.Link) throws(ScenarioProblem) {
        guard place.isMapping else {
            (link.rate, link.rateToLeft) = (try place.text(), nil)
            return
        }
        var fields = try place.fields()
        link.rate = try fields.need("right").text()
        link.rateToLeft = try fields.need("left").text()
        try fields.finish()
    }

    private func set(_ link: Topology.Link, in topology: inout Topology) {
        if let index = topology.links.firstIndex(where: { $0.name == link.name }) {
            topology.links[index] = link
        } else {
            topology.links.append(link)
        }
    }

    /// `[a.p1 10.71.1.1/24 fd71:1::1/64, r1.toa 10.71.1.254/24]`
    private func ends(_ place: Place) throws(ScenarioProblem) -> (Topology.End, Topology.End) {
        let places = try place.list()
        guard places.count == 2 else {
            throw place.problem("a link has two ends: [NODE.DEVICE ADDRESS..., NODE.DEVICE ADDRESS...]")
        }
        return (try end(places[0]), try end(places[1]))
    }

    private func end(_ place: Place) throws(ScenarioProblem) -> Topology.End {
        var words = try place.text().split(separator: " ")[...]
        let name = (words.popFirst() ?? "").split(separator: ".", omittingEmptySubsequences: false)
        guard name.count == 2, !name[0].isEmpty, (1...15).contains(name[1].count) else {
            throw place.problem("an end is NODE.DEVICE ADDRESS...")
        }
        var addresses: [Address] = []
        for word in words {
            guard let address = Address(word) else {
                throw place.problem("\(word) is no address, such as 10.71.1.1/24 or fd71:1::1/64")
            }
            addresses.append(address)
        }
        return Topology.End(node: String(name[0]), device: String(name[1]), addresses: addresses)
    }

    private func check(_ topology: Topology, _ place: Place) throws(ScenarioProblem) {
        guard !topology.hosts.isEmpty else { throw place.problem("there is no host") }
        var names: Set<String> = []
        for (link, end) in topology.links.flatMap({ link in link.ends.map { (link, $0) } }) {
            guard let node = topology.node(end.node) else {
                throw place.problem(
                    "link \(link.name): no node is called \(end.node)"
                        + hint(end.node, among: topology.nodes.map(\.name)))
            }
            guard names.insert(end.name).inserted else {
                throw place.problem("link \(link.name): \(end.name) is an end of two links")
            }
            guard !node.kind.isSilent || end.addresses.isEmpty else {
                throw place.problem("link \(link.name): \(node.kind.rawValue) \(node.name) has no addresses")
            }
        }
        for node in topology.nodes {
            if let outside = node.outside, topology.end("\(node.name).\(outside)") == nil {
                throw place.problem("\(node.name) has no device \(outside)")
            }
        }
    }
}
