import Foundation
import SystemPackage

/// Why a scenario cannot go on.
struct LaboratoryError: Error, CustomStringConvertible {
    let description: String
    var details: [String] = []

    init(_ description: String, details: [String] = []) {
        self.description = description
        self.details = details
    }
}

/// The namespaces of one scenario, and what runs in them. What is left of it has its prefix, see ``Leftovers``.
final class Laboratory {
    let topology: Topology
    let folder: FilePath
    let tools: FilePath
    let binaries: FilePath
    let root: FilePath
    private let prefix: String
    private let script: TopologyScript
    private var count = 0
    private(set) var daemons: [String: Job] = [:]
    private var captures: [String: Job] = [:]
    private var wires: [String: Job] = [:]
    private var capturesOfAll: [Job] = []

    init(_ topology: Topology, prefix: String, catalog: Catalog) throws {
        self.topology = topology
        self.prefix = prefix
        script = TopologyScript(topology: topology, prefix: prefix)
        folder = Leftovers.folder.appending("tcpcrypt-\(prefix)")
        (tools, binaries, root) = (catalog.tools, catalog.binaries, catalog.root)
        try FileManager.default.createDirectory(
            atPath: folder.string, withIntermediateDirectories: false, attributes: [.posixPermissions: 0o755])
    }

    func file(_ name: String) -> FilePath { folder.appending(name) }

    /// What is kept for a look at it.
    var remains: String {
        "\(folder), namespaces \(topology.nodes.map { script.namespace($0.name) }.joined(separator: " "))"
    }

    // MARK: processes

    /// Starts a program in a node's namespace; its output goes to NAME.out and NAME.err.
    func start(
        _ words: [String], on node: String?, named name: String, input: FilePath = "/dev/null"
    ) async throws -> Job {
        let inside = node.map { ["ip", "netns", "exec", script.namespace($0)] } ?? []
        return try await Job.start(
            inside + words, environment: [Leftovers.variable: prefix], in: folder, input: input,
            output: file("\(name).out"), errors: file("\(name).err"))
    }

    /// Runs one to its end.
    ///
    /// - Throws: ``LaboratoryError`` where it takes longer.
    func run(_ words: [String], on node: String?, limit: Double = 30) async throws -> Job {
        count += 1
        let job = try await start(words, on: node, named: "run-\(count)")
        do {
            guard try await job.wait(.seconds(limit)) == nil else { return job }
        } catch {
            await job.end(toGroup: true)
            throw error
        }
        await job.end(toGroup: true)
        throw LaboratoryError("\(words.joined(separator: " ")): still running after \(limit) s", details: job.lastLines)
    }

    /// Runs one that has to succeed, and returns what it said.
    @discardableResult
    func ask(_ words: [String], on node: String?, limit: Double = 30) async throws -> String {
        let job = try await run(words, on: node, limit: limit)
        guard job.status == 0 else {
            throw LaboratoryError("\(words.joined(separator: " ")): status \(job.status ?? -1)", details: job.lastLines)
        }
        defer { for path in [job.output, job.errors] { try? FileManager.default.removeItem(atPath: path.string) } }
        return job.said
    }

    /// Polls until it holds, as long as that process runs.
    func wait(_ seconds: Double, for what: String, of job: Job, until isDone: () async throws -> Bool) async throws {
        let end = ContinuousClock.now + .seconds(seconds)
        while try await !isDone() {
            guard job.status == nil else { throw LaboratoryError("\(what): it has ended", details: job.lastLines) }
            guard ContinuousClock.now < end else {
                throw LaboratoryError("\(what): not within \(seconds) s", details: job.lastLines)
            }
            try await Task.sleep(for: .milliseconds(20))
        }
    }

    // MARK: the network

    func build() async throws {
        try script.text.write(toFile: file("topology.sh").string, atomically: false, encoding: .utf8)
        try await ask(["/bin/sh", "-ex", file("topology.sh").string], on: nil, limit: 60)
        for link in topology.links { if let wire = link.wire { try await startWire(link, wire) } }
    }

    private func startWire(_ link: Topology.Link, _ wire: String) async throws {
        let commands = file("\(link.wireNode).commands")
        try await ask(["mkfifo", commands.string], on: nil)
        let program = binaries.appending("tcpcrypt-wire").string
        let job = try await start(
            [program, "left", "right", "--both", wire], on: link.wireNode, named: link.wireNode, input: commands)
        wires[link.name] = job
        try await wait(10, for: "the wire of \(link.name)", of: job) { job.said.contains("ready") }
    }

    func change(_ link: String, rate: String?, rateToLeft: String?, wire: String?) async throws {
        if var link = topology.link(link), rate != nil {
            (link.rate, link.rateToLeft) = (rate, rateToLeft)
            for line in script.shaping(of: link) { try await ask(["/bin/sh", "-ec", line], on: nil) }
        }
        guard let wire, let job = wires[link], let name = topology.link(link)?.wireNode else { return }
        let answers = job.said.split(separator: "\n").count
        let commands = try FileDescriptor.open(file("\(name).commands"), .writeOnly, options: [.closeOnExec])
        try commands.closeAfter { _ = try commands.writeAll("both \(wire)\n".utf8) }
        try await wait(10, for: "the wire of \(link)", of: job) { job.said.split(separator: "\n").count > answers }
        guard let answer = job.said.split(separator: "\n").last, answer == "set" else {
            throw LaboratoryError("the wire of \(link) does not take \(wire)", details: job.lastLines)
        }
    }

    func set(_ end: Topology.End, isUp: Bool) async throws {
        try await ask(["ip", "link", "set", end.device, isUp ? "up" : "down"], on: end.node)
        await restoreRoutes(of: end.node)
    }

    func change(_ end: Topology.End, add: [Address], remove: [Address], removesAll: Bool) async throws {
        if removesAll { try await ask(["ip", "address", "flush", "dev", end.device, "scope", "global"], on: end.node) }
        for address in remove {
            try await ask(["ip", "address", "del", address.text, "dev", end.device], on: end.node)
        }
        for address in add {
            let words =
                ["ip", "address", "add", address.text, "dev", end.device] + (address.version == 6 ? ["nodad"] : [])
            try await ask(words, on: end.node)
        }
        await restoreRoutes(of: end.node)
    }

    /// A kernel forgets routes with the device or address they need; those that are possible now are there again.
    private func restoreRoutes(of node: String) async {
        let lines = script.routes(of: node).map { "\($0) || true\n" }.joined()
        _ = try? await run(["/bin/sh", "-c", lines], on: nil)
    }

    // MARK: daemons

    func startDaemon(_ host: String, _ settings: [String: Value]) async throws {
        var settings = settings
        if let workers = ProcessInfo.processInfo.environment["TCPCRYPT_WORKERS"].flatMap({ Double($0) }),
            settings["workers"] == nil
        {
            settings["workers"] = .number(workers)
        }
        try Value.object(settings).json.write(toFile: file("\(host).json").string, atomically: false, encoding: .utf8)
        let program = binaries.appending("tcpcryptd").string
        guard FileManager.default.isExecutableFile(atPath: program) else {
            throw LaboratoryError("\(program) is not there: ./Scripts/build")
        }
        count += 1
        let job = try await start(
            [program, "--config", file("\(host).json").string, "--control", file("\(host).sock").string], on: host,
            named: "daemon-\(host)-\(count)")
        daemons[host] = job
        try await wait(20, for: "the daemon of \(host)", of: job) {
            guard job.complained.contains("ready") else { return false }
            return try await run(control(host, "status"), on: nil).status == 0
        }
    }

    /// - Returns: its exit status.
    func endDaemon(_ host: String, _ signal: Int32) async -> Int32? {
        await daemons.removeValue(forKey: host)?.end(signal)
    }

    private func control(_ host: String, _ verb: String) -> [String] {
        [binaries.appending("tcpcryptctl").string, "--control", file("\(host).sock").string, verb, "--json"]
    }

    // MARK: captures

    func startCapture(_ capture: Scenario.Capture) async throws {
        let words = [
            "tcpdump", "-i", capture.device, "-U", "--immediate-mode", "-n", "-B", "65536", "-s",
            "\(capture.snapLength)", "-Z",
            "root", "-w", file("\(capture.name).pcap").string, capture.filter,
        ]
        let job = try await start(words, on: capture.node, named: "capture-\(capture.name)")
        captures[capture.name] = job
        try await wait(10, for: "the capture \(capture.name)", of: job) { job.complained.contains("listening on") }
    }

    /// All devices of all nodes, into that folder.
    func captureAll(into folder: FilePath, snapLength: Int) async throws {
        try FileManager.default.createDirectory(atPath: folder.string, withIntermediateDirectories: true)
        for node in topology.nodes {
            let words = [
                "tcpdump", "-i", "any", "-U", "--immediate-mode", "-n", "-B", "65536", "-s", "\(snapLength)", "-Z",
                "root", "-w",
                folder.appending("\(node.name).pcap").string,
            ]
            let job = try await start(words, on: node.name, named: "all-\(node.name)")
            capturesOfAll.append(job)
            try await wait(10, for: "the capture of \(node.name)", of: job) { job.complained.contains("listening on") }
        }
    }

    /// So that their files are whole.
    func stopCapturesOfAll() async { for job in capturesOfAll { await job.end(SIGINT) } }

    /// - Returns: what was said of captures that lack packets.
    func stopCaptures() async -> [String] {
        var complaints: [String] = []
        for (name, job) in captures.sorted(by: { $0.key < $1.key }) {
            await job.end(SIGINT)
            let lines = job.complained.split(separator: "\n").filter { $0.contains("dropped by kernel") }
            complaints += lines.filter { !$0.hasPrefix("0 ") }.map { "capture \(name): \($0)" }
        }
        captures = [:]
        return complaints
    }

    // MARK: what checks ask

    func fetch(_ member: String, of host: String) async throws -> Value {
        switch member {
        case "bytes": return try Observed.bytes(json: try await ask(["ip", "-s", "-j", "link"], on: host))
        case "sockets":
            return Observed.sockets(try await ask(["ss", "-tHn", "state", "established"], on: host))
        case "subflows": return Observed.subflows(try Value(json: try await ask(control(host, "connections"), on: nil)))
        default: return try Value(json: try await ask(control(host, member), on: nil))
        }
    }

    func readCapture(_ name: String) async throws -> Value {
        let words = ["/usr/bin/python3", tools.appending("wire.py").string, "table()", file("\(name).pcap").string]
        return try Value(json: try await ask(words, on: nil, limit: 60))
    }

    func isFound(_ marker: String, in capture: String) async throws -> Bool {
        let words = ["grep", "-q", "-a", "-F", "-e", marker, file("\(capture).pcap").string]
        let status = try await run(words, on: nil, limit: 60).status
        guard status == 0 || status == 1 else { throw LaboratoryError("the capture \(capture) cannot be read") }
        return status == 0
    }
}

extension Job {
    /// The end of what it said, complaints last.
    var lastLines: [String] {
        (said + (errors == output ? "" : complained)).split(separator: "\n").suffix(8).map { String($0.prefix(300)) }
    }
}
