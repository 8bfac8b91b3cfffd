extension Scenario {
    /// - Parameters:
    ///   - file: how messages call it.
    ///   - preset: the text of a topology, by its name; nil where there is none.
    /// - Throws: the first mistake, with its place.
    public init(
        yaml: String, file: String, name: String, preset: @escaping (String) -> String?
    ) throws(ScenarioProblem) {
        let root = try Place.root(of: yaml, file: file)
        var fields = try root.fields()
        self.name = name
        self.file = file
        title = try fields.need("title").text()
        shows = try fields.take("shows")?.text() ?? ""
        var terms = Terms(limit: 120)
        if let alone = fields.take("alone") { terms.isAlone = try alone.truth() }
        if let early = fields.take("early") { terms.isEarly = try early.truth() }
        if let limit = fields.take("limit") { terms.limit = try limit.whole() }
        self.terms = terms
        topology = try TopologyParser(preset: preset).parse(try fields.need("topology"))
        daemons = try Scenario.daemons(fields.take("daemons"), of: topology)
        captures = try Scenario.captures(fields.take("captures"), of: topology)
        var parser = StepParser(topology: topology, captures: captures)
        files = try Scenario.files(fields.take("files"), parser)
        steps = try parser.steps(try fields.need("steps"))
        checks = try fields.take("checks").map { place throws(ScenarioProblem) in try parser.steps(place) } ?? []
        try fields.finish()
    }

    /// `[a, b]`, or `a: {rekey_bytes: 1000000}`
    private static func daemons(
        _ place: Place?, of topology: Topology
    ) throws(ScenarioProblem) -> [(host: String, settings: [String: Value])] {
        guard let place else { return [] }
        var daemons: [(host: String, settings: [String: Value])] = []
        if place.isMapping {
            for (host, settings) in try place.fields().all {
                guard topology.node(host)?.kind == .host else { throw settings.problem("no host is called \(host)") }
                guard case .object(let members) = try settings.value() else {
                    throw settings.problem("settings are wanted: {name: value}")
                }
                daemons.append((host, members))
            }
            return daemons
        }
        for host in try place.texts() {
            guard topology.node(host)?.kind == .host else { throw place.problem("no host is called \(host)") }
            daemons.append((host, [:]))
        }
        return daemons
    }

    private static func files(_ place: Place?, _ parser: StepParser) throws(ScenarioProblem) -> [File] {
        var files: [File] = []
        guard let place else { return files }
        for (path, place) in try place.fields().all {
            guard !path.hasPrefix("/"), !path.contains("..") else {
                throw place.problem("\(path) is not in the scenario's own folder")
            }
            guard place.isMapping else {
                try parser.check(try place.text(), place)
                files.append(File(path: path, text: try place.text()))
                continue
            }
            var fields = try place.fields()
            let text = try fields.need("repeat").text()
            let megabytes = try fields.need("megabytes").whole()
            guard !text.isEmpty, (1...10_000).contains(megabytes) else {
                throw place.problem("1 to 10000 megabytes of some text")
            }
            files.append(File(path: path, text: text, bytes: megabytes << 20))
            try fields.finish()
        }
        return files
    }

    /// `path1: r1.tob`, or `path1: {at: r1.tob, bytes: 256, filter: tcp}`
    private static func captures(_ place: Place?, of topology: Topology) throws(ScenarioProblem) -> [Capture] {
        var captures: [Capture] = []
        guard let place else { return captures }
        for (name, place) in try place.fields().all {
            guard topology.node(name) == nil else { throw place.problem("\(name) is a node's name already") }
            var at = place
            var (length, filter) = (0, "tcp")
            if place.isMapping {
                var fields = try place.fields()
                at = try fields.need("at")
                length = try fields.take("bytes")?.whole() ?? 0
                filter = try fields.take("filter")?.text() ?? filter
                try fields.finish()
            }
            let end = try StepParser.end(at, of: topology)
            captures.append(Capture(name: name, node: end.node, device: end.device, snapLength: length, filter: filter))
        }
        return captures
    }
}
