import Foundation
import SystemPackage

/// Goes through the steps of a scenario.
final class Player {
    private let scenario: Scenario
    private let laboratory: Laboratory
    private let record: Record
    private let options: RunOptions
    private var processes: [String: Job] = [:]
    private var values: [String: Value]

    init(_ scenario: Scenario, in laboratory: Laboratory, _ record: Record, options: RunOptions) {
        self.scenario = scenario
        self.laboratory = laboratory
        self.record = record
        self.options = options
        values = ["baseline": .bool(options.isBaseline)]
    }

    func play() async -> Ending {
        do {
            try await prepare()
            for step in scenario.steps { try await play(step) }
            if options.draws { await draw() }
            for complaint in await laboratory.stopCaptures() { record.note(complaint) }
            for step in scenario.checks { try await play(step) }
            for (host, job) in laboratory.daemons.sorted(by: { $0.key < $1.key }) where job.status != nil {
                record.add(Assertion(.failed, "the daemon of \(host) is still alive", details: job.lastLines))
            }
        } catch is CancellationError {
            return .interrupted
        } catch let error as LaboratoryError {
            record.add(Assertion(.failed, error.description, details: error.details))
        } catch {
            record.add(Assertion(.failed, "it goes on to its end", details: ["\(error)"]))
        }
        await laboratory.stopCapturesOfAll()
        if record.hasFailed { showLogs() }
        if options.keeps { record.note("kept: \(laboratory.remains); `tcpcrypt-scenario clean` removes them") }
        return .exited(record.hasFailed ? 1 : 0)
    }

    private func prepare() async throws {
        try await laboratory.build()
        for file in scenario.files { try write(file) }
        if let pcap = options.pcap {
            try await laboratory.captureAll(
                into: FilePath(pcap).appending(scenario.name), snapLength: options.snapLength)
        }
        for capture in scenario.captures { try await laboratory.startCapture(capture) }
        guard !options.isBaseline else { return }
        for (host, settings) in scenario.daemons { try await laboratory.startDaemon(host, settings) }
    }

    private func write(_ file: Scenario.File) throws {
        let path = laboratory.file(file.path)
        try FileManager.default.createDirectory(
            atPath: path.removingLastComponent().string, withIntermediateDirectories: true)
        guard let bytes = file.bytes else {
            return try expand(file.text).write(toFile: path.string, atomically: false, encoding: .utf8)
        }
        let block = Data(String(repeating: file.text, count: max(1, (1 << 20) / file.text.utf8.count)).utf8)
        try Data().write(to: URL(fileURLWithPath: path.string))
        let handle = try FileHandle(forWritingTo: URL(fileURLWithPath: path.string))
        var left = bytes
        while left > 0 {
            try handle.write(contentsOf: block.prefix(left))
            left -= min(left, block.count)
        }
        try handle.close()
    }

    private func showLogs() {
        for (host, job) in laboratory.daemons.sorted(by: { $0.key < $1.key }) {
            record.note("end of the log of \(host)'s daemon:")
            for line in job.lastLines { record.note("  \(line)") }
        }
    }

    // MARK: steps

    private func play(_ step: Step) async throws {
        try Task.checkCancellation()
        if options.isBaseline, step.isAboutEncryption {
            if let title = step.title { record.add(Assertion(.skipped, "\(title) (baseline)")) }
            return
        }
        do {
            try await play(step.action, step)
        } catch let error as LaboratoryError {
            try fail(step, error)
        } catch let error as ExpressionError {
            try fail(step, LaboratoryError(error.description))
        }
    }

    /// What was to be asserted does not hold; what was only to be done is a reason to stop.
    private func fail(_ step: Step, _ error: LaboratoryError) throws {
        guard let title = step.title else {
            throw LaboratoryError("\(scenario.file):\(step.line): \(error)", details: error.details)
        }
        record.add(Assertion(.failed, title, details: [error.description] + error.details))
    }

    private func play(_ action: Step.Action, _ step: Step) async throws {
        switch action {
        case .start(let hosts, let settings):
            for host in hosts where !options.isBaseline { try await laboratory.startDaemon(host, settings) }
        case .stop(let hosts): try await stop(hosts, SIGTERM)
        case .kill(let hosts): try await stop(hosts, SIGKILL)
        case .run(let command): try await run(command)
        case .spawn(let name, let command, let readiness): try await spawn(name, command, readiness)
        case .await(let name, let status, let limit): try await wait(for: name, status, limit)
        case .end(let name, let signal): try await end(name, signal)
        case .device(let end, let isUp): try await laboratory.set(end, isUp: isUp)
        case .shape(let link, let rate, let rateToLeft, let wire):
            try await laboratory.change(link, rate: rate, rateToLeft: rateToLeft, wire: wire)
        case .address(let end, let add, let remove, let removesAll):
            try await laboratory.change(end, add: add, remove: remove, removesAll: removesAll)
        case .check(let expression, let within):
            return try await check(expression, within, step.title ?? "\(expression)")
        case .secret(let marker, let captures): return try await secret(marker, captures)
        case .save(let name, let expression):
            values[name] = try await evaluation(of: expression).value(of: expression)
        case .sleep(let seconds): try await Task.sleep(for: .seconds(seconds))
        case .transfer(let transfer): return try await play(transfer, step.title)
        case .draw: await draw()
        }
        if let title = step.title { record.add(Assertion(.passed, title)) }
    }

    private func stop(_ hosts: [String], _ signal: Int32) async throws {
        for host in hosts where !options.isBaseline {
            let status = await laboratory.endDaemon(host, signal)
            guard signal == SIGKILL || status == 0 else {
                throw LaboratoryError("the daemon of \(host) ended with status \(status.map { "\($0)" } ?? "unknown")")
            }
        }
    }

    private func words(_ command: Step.Command) throws -> [String] {
        let words = try command.words.map(expand)
        return command.isShell ? ["/bin/bash", "-c", "set -o pipefail; \(words[0])"] : words
    }

    private func run(_ command: Step.Command) async throws {
        let job = try await laboratory.run(try words(command), on: command.host, limit: command.limit)
        guard job.status == command.status else {
            throw LaboratoryError("status \(job.status ?? -1), not \(command.status)", details: job.lastLines)
        }
        let said = job.said.trimmingCharacters(in: .whitespacesAndNewlines)
        if let pattern = command.output, try said.firstMatch(of: Regex(pattern)) == nil {
            throw LaboratoryError("the output does not match \(pattern)", details: job.lastLines)
        }
        if let name = command.saved { values[name] = .text(said) }
    }

    private func spawn(_ name: String, _ command: Step.Command, _ readiness: Step.Readiness?) async throws {
        let job = try await laboratory.start(try words(command), on: command.host, named: name)
        processes[name] = job
        switch readiness {
        case nil: break
        case .listening(let port):
            try await laboratory.wait(15, for: "\(name), port \(port)", of: job) {
                try await !laboratory.ask(["ss", "-Hltn", "sport = :\(port)"], on: command.host).isEmpty
            }
        case .said(let pattern):
            let regex = try Regex(pattern)
            try await laboratory.wait(15, for: "\(name), \(pattern)", of: job) {
                job.said.firstMatch(of: regex) != nil || job.complained.firstMatch(of: regex) != nil
            }
        }
    }

    private func process(_ name: String) throws -> Job {
        guard let job = processes[name] else { throw LaboratoryError("\(name) does not run") }
        return job
    }

    private func wait(for name: String, _ wanted: Int32, _ limit: Double) async throws {
        let job = try process(name)
        guard let status = try await job.wait(.seconds(limit)) else {
            throw LaboratoryError("\(name) is still running after \(limit) s", details: job.lastLines)
        }
        guard status == wanted else {
            throw LaboratoryError("\(name): status \(status), not \(wanted)", details: job.lastLines)
        }
    }

    private func end(_ name: String, _ signal: Step.EndSignal) async throws {
        let number =
            switch signal {
            case .hangUp: SIGHUP
            case .interrupt: SIGINT
            case .quit: SIGQUIT
            case .kill: SIGKILL
            case .terminate: SIGTERM
            }
        await (try process(name)).end(number, toGroup: true)
    }

    private func play(_ transfer: Step.Transfer, _ title: String?) async throws {
        let name =
            title
            ?? "\(transfer.isMultipath ? "MPTCP" : "TCP"), IPv\(transfer.version), \(transfer.from) to \(transfer.to)"
        guard
            let address = try transfer.address.map(expand)
                ?? scenario.topology.address(of: transfer.to, version: transfer.version)?.host
        else { throw LaboratoryError("\(transfer.to) has no IPv\(transfer.version) address") }
        let program = ["/usr/bin/python3", laboratory.tools.appending("bulk.py").string]
        let flags =
            (transfer.isMultipath ? ["--mptcp"] : []) + (transfer.version == 6 ? ["--v6"] : [])
            + (transfer.direction == .download ? ["--one-way"] : transfer.direction == .upload ? ["--upload"] : [])
        let bytes = "\(transfer.megabytes << 20)"
        let server = try await laboratory.start(
            program + ["listen", "\(transfer.port)", bytes] + flags, on: transfer.to, named: "server-\(transfer.port)")
        try await laboratory.wait(10, for: "the server on port \(transfer.port)", of: server) {
            server.said.contains("listening")
        }
        let client = try await laboratory.start(
            program + ["connect", address, "\(transfer.port)", bytes] + flags, on: transfer.from,
            named: "client-\(transfer.port)")
        for step in transfer.during { try await play(step) }
        for (job, end, limit) in [(client, "client", transfer.limit), (server, "server", 15)] {
            let status = try await job.wait(.seconds(limit))
            if status == nil { await job.end() }
            let details =
                status == 0 ? [] : [status.map { "status \($0)" } ?? "still running after \(limit) s"] + job.lastLines
            record.add(Assertion(status == 0 ? .passed : .failed, "\(name): the \(end) ends well", details: details))
        }
        let here = Player.result(of: client)
        let there = Player.result(of: server)
        let isWhole = here != nil && here?.sent == there?.received && here?.received == there?.sent
        record.add(
            Assertion(
                isWhole ? .passed : .failed, "\(name): what arrives is what was sent",
                details: isWhole
                    ? []
                    : [
                        "\(transfer.from): \(client.lastLines.last ?? "")",
                        "\(transfer.to): \(server.lastLines.last ?? "")",
                    ]))
        if isWhole, let here, let there {
            // Who only sends is done when its kernel has it all.
            let seconds = max(here.seconds, there.seconds)
            let directions = transfer.direction == .both ? 2.0 : 1
            let rate = Double(transfer.megabytes << 20) * 8 * directions / max(seconds, 0.001) / 1e6
            record.note("\(name): \(transfer.megabytes) MB in \(seconds) s, \(Int(rate)) Mbit/s")
        }
    }

    /// Of the last line of tools/bulk.py.
    private static func result(of job: Job) -> (sent: Substring, received: Substring, seconds: Double)? {
        let words = (job.said.split(separator: "\n").last ?? "").split(separator: " ")
        guard words.count == 6, words[0] == "sent", let seconds = Double(words[5]) else { return nil }
        return (words[1], words[3], seconds)
    }

    // MARK: checks

    private func check(_ expression: Expression, _ within: Double, _ title: String) async throws {
        let end = ContinuousClock.now + .seconds(within)
        while true {
            let (details, isOver) = try await reasons(against: expression, ContinuousClock.now >= end)
            if details.isEmpty { return record.add(Assertion(.passed, title)) }
            if isOver { return record.add(Assertion(.failed, title, details: details)) }
            try await Task.sleep(for: .milliseconds(50))
        }
    }

    /// Empty where it holds.
    private func reasons(against expression: Expression, _ isOver: Bool) async throws -> ([String], isOver: Bool) {
        do {
            let evaluation = try await evaluation(of: expression)
            return try evaluation.holds(expression) ? ([], isOver) : (evaluation.explanation(of: expression), isOver)
        } catch let error as ExpressionError {
            return ([error.description], isOver)
        } catch let error as LaboratoryError {
            return ([error.description] + error.details, isOver)
        }
    }

    /// Fetches what the expression asks for.
    private func evaluation(of expression: Expression) async throws -> Evaluation {
        var known = values
        for (name, member) in expression.sources where values[name] == nil {
            if scenario.captures.contains(where: { $0.name == name }) {
                known[name] = try await laboratory.readCapture(name)
            } else if let member {
                var members: [String: Value] = [:]
                if case .object(let fetched)? = known[name] { members = fetched }
                if members[member] == nil { members[member] = try await laboratory.fetch(member, of: name) }
                known[name] = .object(members)
            }
        }
        return Evaluation(known: known)
    }

    /// The proof and its counter-proof: without daemons the marker has to be there.
    private func secret(_ marker: String, _ captures: [String]) async throws {
        var found: [String] = []
        for capture in captures where try await laboratory.isFound(marker, in: capture) { found.append(capture) }
        let names = captures.joined(separator: " ")
        if options.isBaseline {
            record.add(
                Assertion(found.isEmpty ? .failed : .passed, "baseline: the marker is seen on the wire (\(names))"))
        } else {
            record.add(
                Assertion(
                    found.isEmpty ? .passed : .failed, "the marker is nowhere on the wire (\(names))",
                    details: found.map { "found in \($0)" }))
        }
    }

    private func expand(_ text: String) throws -> String {
        try Interpolation(text).text { name in
            switch name {
            case "tmp": laboratory.folder.string
            case "tools": laboratory.tools.string
            case "bin": laboratory.binaries.string
            case "root": laboratory.root.string
            case "python": "/usr/bin/python3"
            default: values[name]?.plain ?? Interpolation.address(name, in: scenario.topology)
            }
        }
    }

    /// Never a reason to fail.
    private func draw() async {
        guard let host = laboratory.daemons.keys.min(),
            let connections = try? await laboratory.fetch("connections", of: host)
        else { return }
        for line in SubflowDrawing(connections, of: host, in: scenario.topology).lines { record.note("│ \(line)") }
    }
}
