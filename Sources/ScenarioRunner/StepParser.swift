/// Reads steps, and knows what later ones may name: hosts, captures, processes, saved values.
struct StepParser {
    private let topology: Topology
    private var values: Set<String> = ["baseline"]
    private let captures: Set<String>
    private var processes: Set<String> = []
    /// Those of them that nobody has in a baseline run.
    private var savedFromDaemons: Set<String> = []
    private var transfers = 0

    private static let verbs = [
        "start", "stop", "kill", "run", "spawn", "await", "end", "device", "link", "address", "check", "secret", "save",
        "sleep",
        "transfer", "draw",
    ]
    /// What can be asked of a host; the first five of its daemon only.
    static let members = ["counters", "status", "connections", "subflows", "sessions", "sockets", "bytes"]
    static let daemonMembers = members.prefix(5)
    /// What can be asked of a capture.
    static let captureMembers = ["flows", "packets", "payload", "syn", "syn_eno", "join", "join_eno", "rst", "fin"]

    init(topology: Topology, captures: [Scenario.Capture]) {
        self.topology = topology
        self.captures = Set(captures.map(\.name))
    }

    mutating func steps(_ place: Place) throws(ScenarioProblem) -> [Step] {
        var steps: [Step] = []
        for place in try place.list() { steps.append(try step(place)) }
        return steps
    }

    private mutating func step(_ place: Place) throws(ScenarioProblem) -> Step {
        if !place.isMapping, try place.text() == "draw" { return Step(action: .draw, line: place.line) }
        var fields = try place.fields()
        // `spawn` and `check` have a field `run`, which has a field `save`.
        guard
            let (verb, value) = fields.takeFirst(of: ["spawn", "check"]) ?? fields.takeFirst(of: ["run"])
                ?? fields.takeFirst(of: StepParser.verbs)
        else {
            let found = fields.all.first?.name ?? ""
            throw place.problem("no step is called \(found)" + hint(found, among: StepParser.verbs))
        }
        var step = Step(action: .draw, line: place.line)
        step.title = try fields.take("title")?.text()
        if let only = fields.take("encrypted") { step.isAboutEncryption = try only.truth() }
        step.action = try action(verb, value, &fields, &step)
        try fields.finish()
        return step
    }

    private mutating func action(
        _ verb: String, _ value: Place, _ fields: inout Fields, _ step: inout Step
    ) throws(ScenarioProblem) -> Step.Action {
        switch verb {
        case "start": return .start(try hosts(value), settings: try settings(fields.take("settings")))
        case "stop": return .stop(try hosts(value))
        case "kill": return .kill(try hosts(value))
        case "run": return .run(try command(value, &fields))
        case "spawn": return try spawn(value, &fields)
        case "await":
            return .await(
                name: try process(value), status: Int32(clamping: try fields.take("status")?.whole() ?? 0),
                limit: try fields.take("limit")?.number() ?? 60)
        case "end":
            let signal = try fields.take("signal")?.word(Step.EndSignal.self) ?? .terminate
            return .end(name: try process(value), signal: signal)
        case "device":
            return .device(
                try StepParser.end(value, of: topology), isUp: try fields.need("state").word(DeviceState.self) == .up)
        case "link": return try shape(value, &fields)
        case "address":
            let removed = fields.take("remove")
            let isAll = try removed?.texts() == ["all"]
            return .address(
                try StepParser.end(value, of: topology), add: try addresses(fields.take("add")),
                remove: isAll ? [] : try addresses(removed), removesAll: isAll)
        case "check":
            step.title = try value.text()
            if let condition = fields.take("that") {
                let (expression, isOfDaemons) = try expression(condition)
                step.isAboutEncryption = step.isAboutEncryption || isOfDaemons
                return .check(expression, within: try fields.take("within")?.number() ?? 0)
            }
            return .run(try command(try fields.need("run"), &fields))
        case "secret": return .secret(marker: try value.text(), captures: try captured(try fields.need("in")))
        case "save":
            let name = try value.text()
            let (expression, isOfDaemons) = try expression(try fields.need("value"))
            step.isAboutEncryption = isOfDaemons
            values.insert(name)
            if isOfDaemons { savedFromDaemons.insert(name) }
            return .save(name: name, expression)
        case "sleep": return .sleep(try value.number())
        case "transfer": return try transfer(value)
        default: return .draw
        }
    }

    private enum DeviceState: String, CaseIterable { case up, down }

    // MARK: what steps are about

    private func hosts(_ place: Place) throws(ScenarioProblem) -> [String] {
        let names = try place.texts()
        for name in names { try host(name, place) }
        return names
    }

    private func host(_ name: String, _ place: Place) throws(ScenarioProblem) {
        guard topology.node(name)?.kind == .host else {
            throw place.problem("no host is called \(name)" + hint(name, among: topology.hosts.map(\.name)))
        }
    }

    static func end(_ place: Place, of topology: Topology) throws(ScenarioProblem) -> Topology.End {
        let name = try place.text()
        guard let end = topology.end(name) else {
            throw place.problem("no device is called \(name)" + hint(name, among: topology.ends.map(\.name)))
        }
        return end
    }

    private func settings(_ place: Place?) throws(ScenarioProblem) -> [String: Value] {
        guard let place else { return [:] }
        guard case .object(let members) = try place.value() else {
            throw place.problem("settings are wanted: {name: value}")
        }
        return members
    }

    private func addresses(_ place: Place?) throws(ScenarioProblem) -> [Address] {
        var addresses: [Address] = []
        guard let place else { return addresses }
        for text in try place.texts() {
            guard let address = Address(text) else {
                throw place.problem("\(text) is no address, such as 10.71.1.1/24")
            }
            addresses.append(address)
        }
        return addresses
    }

    private mutating func command(_ place: Place, _ fields: inout Fields) throws(ScenarioProblem) -> Step.Command {
        let on = try fields.need("on")
        let name = try on.text()
        guard topology.node(name) != nil else {
            throw on.problem("no node is called \(name)" + hint(name, among: topology.nodes.map(\.name)))
        }
        let words = try place.texts()
        var command = Step.Command(host: name, words: words, isShell: (try? place.text()) != nil)
        for word in words { try check(word, place) }
        if let status = fields.take("status") { command.status = Int32(clamping: try status.whole()) }
        if let output = fields.take("output") {
            command.output = try output.text()
            guard (try? Regex(command.output ?? "")) != nil else {
                throw output.problem("no pattern: \(command.output ?? "")")
            }
        }
        if let limit = fields.take("limit") { command.limit = try limit.number() }
        if let saved = fields.take("save") {
            command.saved = try saved.text()
            values.insert(command.saved ?? "")
        }
        return command
    }

    /// Every `${...}` has to mean something.
    func check(_ text: String, _ place: Place) throws(ScenarioProblem) {
        do {
            for name in try Interpolation(text).names { try check(variable: name, place) }
        } catch let error as ExpressionError {
            throw place.problem("\(error)")
        } catch let error as ScenarioProblem {
            throw error
        } catch {
            throw place.problem("\(error)")
        }
    }

    private func check(variable name: String, _ place: Place) throws(ScenarioProblem) {
        let end = name.split(separator: ":").first.map(String.init) ?? ""
        guard
            Interpolation.builtIn.contains(name) || values.contains(name) || topology.end(end) != nil
                || topology.node(end) != nil
        else {
            throw place.problem(
                "${\(name)} is not known"
                    + hint(name, among: Interpolation.builtIn + values + topology.ends.map(\.name)))
        }
    }

    private mutating func spawn(_ value: Place, _ fields: inout Fields) throws(ScenarioProblem) -> Step.Action {
        let name = try value.text()
        let command = try command(try fields.need("run"), &fields)
        processes.insert(name)
        guard let until = fields.take("until") else { return .spawn(name: name, command, until: nil) }
        let words = try until.text().split(separator: " ", maxSplits: 1)
        switch words.first {
        case "listening":
            guard words.count == 2, let port = Int(words[1]) else { throw until.problem("listening PORT") }
            return .spawn(name: name, command, until: .listening(port: port))
        case "said":
            guard words.count == 2, (try? Regex(String(words[1]))) != nil else { throw until.problem("said PATTERN") }
            return .spawn(name: name, command, until: .said(String(words[1])))
        default: throw until.problem("until is `listening PORT` or `said PATTERN`")
        }
    }

    private func process(_ place: Place) throws(ScenarioProblem) -> String {
        let name = try place.text()
        guard processes.contains(name) else {
            throw place.problem("nothing called \(name) was spawned" + hint(name, among: Array(processes)))
        }
        return name
    }

    private func shape(_ value: Place, _ fields: inout Fields) throws(ScenarioProblem) -> Step.Action {
        let name = try value.text()
        guard let link = topology.link(name) else {
            throw value.problem("no link is called \(name)" + hint(name, among: topology.links.map(\.name)))
        }
        let rate = try fields.take("rate")?.text()
        let wire = fields.take("wire")
        guard wire == nil || link.wire != nil else { throw value.problem("link \(name) has no wire in the topology") }
        guard rate != nil || wire != nil else { throw value.problem("a rate or a wire is wanted") }
        return .shape(link: name, rate: rate, rateToLeft: rate, wire: try wire?.texts().joined(separator: " "))
    }

    private func captured(_ place: Place) throws(ScenarioProblem) -> [String] {
        let names = try place.texts()
        for name in names where !captures.contains(name) {
            throw place.problem("no capture is called \(name)" + hint(name, among: Array(captures)))
        }
        return names
    }

    private mutating func transfer(_ place: Place) throws(ScenarioProblem) -> Step.Action {
        var fields = try place.fields()
        let from = try fields.need("from")
        let to = try fields.need("to")
        try host(try from.text(), from)
        try host(try to.text(), to)
        transfers += 1
        let address = fields.take("address")
        if let address { try check(try address.text(), address) }
        let usual = topology.address(of: try to.text(), version: 4) == nil ? 6 : 4
        let version = try fields.take("version")?.whole() ?? usual
        guard version == 4 || version == 6 else { throw place.problem("the version is 4 or 6") }
        let transfer = Step.Transfer(
            from: try from.text(), to: try to.text(), address: try address?.text(),
            port: try fields.take("port")?.whole() ?? 9000 + transfers, megabytes: try fields.need("megabytes").whole(),
            isMultipath: try fields.take("mptcp")?.truth() ?? false, version: version,
            direction: try fields.take("direction")?.word(Step.Transfer.Direction.self) ?? .both,
            limit: try fields.take("limit")?.number() ?? 60,
            during: try fields.take("during").map { place throws(ScenarioProblem) in try steps(place) } ?? [])
        try fields.finish()
        return .transfer(transfer)
    }

    // MARK: expressions

    /// - Returns: also whether it asks daemons.
    private func expression(_ place: Place) throws(ScenarioProblem) -> (Expression, Bool) {
        let expression: Expression
        do {
            expression = try ExpressionParser.parse(try place.text())
        } catch let error as ExpressionError {
            throw place.problem(error.column == 0 ? "\(error)" : "at its character \(error.column): \(error)")
        } catch let error as ScenarioProblem {
            throw error
        } catch {
            throw place.problem("\(error)")
        }
        var isOfDaemons = false
        for (name, member) in expression.sources {
            isOfDaemons = try check(name, member, place) || isOfDaemons
        }
        return (expression, isOfDaemons)
    }

    private func check(_ name: String, _ member: String?, _ place: Place) throws(ScenarioProblem) -> Bool {
        if values.contains(name) { return savedFromDaemons.contains(name) }
        let members: [String]
        if captures.contains(name) {
            members = StepParser.captureMembers
        } else if topology.node(name) != nil {
            members = topology.node(name)?.kind == .host ? StepParser.members : ["bytes"]
        } else {
            // In brackets it may be a member of an element that is a list itself.
            throw place.problem(
                "nothing is called \(name)" + hint(name, among: topology.nodes.map(\.name) + captures + values))
        }
        guard let member, members.contains(member) else {
            throw place.problem("\(name) has no \(member ?? "value of its own")" + hint(member ?? "", among: members))
        }
        return StepParser.daemonMembers.contains(member)
    }
}
