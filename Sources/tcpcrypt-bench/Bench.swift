import Foundation

/// The hosts of a run and what is measured between them.
final class Bench {
    let binaries: String
    let seconds: Double
    private let folder: URL
    private var pairs: [String: HostPair] = [:]
    private var missing: [String: BenchError] = [:]
    private var hasWeb: Set<String> = []
    /// The latest one that rows of a table have asked for.
    var crowd: Crowd?

    init(binaries: String, seconds: Double) throws {
        self.binaries = binaries
        self.seconds = seconds
        folder = FileManager.default.temporaryDirectory.appendingPathComponent("tcpcrypt-bench.\(getpid())")
        try FileManager.default.createDirectory(
            at: folder, withIntermediateDirectories: true, attributes: [.posixPermissions: 0o755])
        for program in ["tcpcryptd", "tcpcryptctl", "tcpcrypt-load", "divert-nothing"]
        where Job.find("\(binaries)/\(program)") == nil {
            throw BenchError.failed("\(binaries)/\(program) is not built (./Scripts/bench builds it)")
        }
    }

    /// Leaves nothing behind.
    func tearDown() {
        for pair in pairs.values { pair.tearDown() }
        try? FileManager.default.removeItem(at: folder)
    }

    /// The hosts of that subject, made at first use. With a `purpose` they are others than those of the other tables.
    func pair(_ subject: Subject, for purpose: String = "") throws -> HostPair {
        let name = subject.rawValue + purpose
        if let pair = pairs[name] { return pair }
        if let reason = missing[name] { throw reason }
        let pair = try HostPair(name, folder: folder)
        do {
            try pair.startResponders(binaries: binaries)
            try subject.prepare(pair, binaries: binaries)
        } catch {
            pair.tearDown()
            if let reason = error as? BenchError { missing[name] = reason }
            throw error
        }
        pairs[name] = pair
        // Whoever keeps sessions has one for every address from now on. What memory is compared with is a daemon that saw nothing yet.
        if subject == .tcpcryptd, purpose.isEmpty {
            _ = try load(pair, visits("connect", subject) + ["--seconds", "0.3"])
        }
        return pair
    }

    func end(_ subject: Subject, for purpose: String) {
        pairs.removeValue(forKey: subject.rawValue + purpose)?.tearDown()
    }

    private func web(_ subject: Subject) throws -> HostPair {
        let pair = try pair(subject)
        if hasWeb.insert(pair.name).inserted { try pair.startWeb() }
        return pair
    }

    // MARK: - What tcpcrypt-load says

    typealias Numbers = [String: Double]

    private func load(_ pair: HostPair, _ words: [String]) throws -> Numbers {
        let text = try pair.run(["\(binaries)/tcpcrypt-load"] + words, on: .a, seconds: seconds + 60)
        var numbers: Numbers = [:]
        for word in text.split(whereSeparator: \.isWhitespace) {
            let parts = word.split(separator: "=")
            if parts.count == 2, let value = Double(parts[1]) { numbers[String(parts[0])] = value }
        }
        return numbers
    }

    private func visits(_ mode: String, _ subject: Subject, mptcp: Bool = false) -> [String] {
        [
            mode, "--address", HostPair.serverAddress, "--addresses", "\(HostPair.serverAddresses)", "--port",
            mptcp ? "7200" : "7100",
            "--ports", "\(Subject.ports)", "--threads", "16",
        ] + (mptcp ? ["--mptcp"] : [])
    }

    private static func value(_ numbers: Numbers, _ name: String) throws -> Double {
        guard let value = numbers[name] else { throw BenchError.failed("tcpcrypt-load said nothing of \(name)") }
        return value
    }

    /// Runs `body`; the processor seconds of the whole machine and of what is measured are those of this time. Where daemons should have
    /// encrypted all connections, or resumed them, and did not, nothing was measured.
    private func counting(
        _ pair: HostPair, _ body: () throws -> Numbers
    ) throws -> (Numbers, busy: Double, own: Double) {
        let products = pair.products.map(\.identifier)
        let counters = try pair.daemonCounters()
        let busy = ProcessorTime.busy()
        let own = ProcessorTime.of(products)
        let numbers = try body()
        let result = (numbers, ProcessorTime.busy() - busy, ProcessorTime.of(products) - own)
        let later = try pair.daemonCounters()
        let grown = { (name: String) in (later[name] ?? 0) - (counters[name] ?? 0) }
        guard grown("fallbacks") == 0 else {
            throw BenchError.failed("\(grown("fallbacks")) connections fell back to plain TCP")
        }
        guard !pair.joins || pair.controller == nil || grown("joins") > 0 else {
            throw BenchError.failed("the daemon saw no second subflow")
        }
        let visits = Int(numbers["visits"] ?? 0)
        let exchanges = grown("public_key_operations")
        guard !pair.resumes || exchanges <= visits / 50 + 64 else {
            throw BenchError.failed("\(exchanges) public-key operations for \(visits) connections that should resume")
        }
        return result
    }

    // MARK: - Measurements

    /// Gbit/s, processor seconds per GB in all, and those of the measured programs.
    func bulk(_ subject: Subject, flows: Int, mptcpPaths: Int = 0, for purpose: String = "") throws -> [Double] {
        let pair = try pair(subject, for: purpose)
        pair.joins = mptcpPaths > 1
        defer { pair.joins = false }
        var words = ["bulk", "--flows", "\(flows)", "--seconds", "\(seconds)"]
        if mptcpPaths > 0 {
            words += ["--address", HostPair.serverAddress, "--port", "7200", "--ports", "\(Subject.ports)", "--mptcp"]
        } else {
            words += subject.bulkTarget
        }
        let (numbers, busy, own) = try counting(pair) { try load(pair, words) }
        let gigabytes = try Bench.value(numbers, "bytes") / 1e9
        guard gigabytes > 0 else { throw BenchError.failed("nothing arrived") }
        return [try Bench.value(numbers, "gbits"), busy / gigabytes, own / gigabytes]
    }

    /// The same for a file from nginx over TLS; of programs that of nginx alone, as the client is ours.
    func download(flows: Int) throws -> [Double] {
        let pair = try web(.plain)
        let words = [
            "download", "--address", HostPair.serverAddress, "--port", "4433", "--tls", "--http", "/big", "--flows",
            "\(flows)",
            "--seconds", "\(seconds)",
        ]
        let web = pair.webServer.map { [$0.identifier] } ?? []
        let before = ProcessorTime.of(web)
        let (numbers, busy, _) = try counting(pair) { try load(pair, words) }
        let gigabytes = try Bench.value(numbers, "bytes") / 1e9
        guard gigabytes > 0 else { throw BenchError.failed("nothing arrived") }
        return [try Bench.value(numbers, "gbits"), busy / gigabytes, (ProcessorTime.of(web) - before) / gigabytes]
    }

    /// Connections per second, and milliseconds of processor time for each.
    func connections(_ subject: Subject, mptcp: Bool = false, joins: Bool = false) throws -> [Double] {
        let pair = try pair(subject)
        pair.joins = joins
        defer { pair.joins = false }
        let words = visits("connect", subject, mptcp: mptcp) + ["--seconds", "\(seconds)"] + (joins ? ["--join"] : [])
        return try rate(pair, words, joins: joins)
    }

    /// The same through nginx.
    func requests(_ subject: Subject, _ path: String, tls: Bool = false, resume: Bool = false) throws -> [Double] {
        let pair = try web(subject)
        var words = ["connect", "--address", HostPair.serverAddress, "--addresses", "\(HostPair.serverAddresses)"]
        words += ["--threads", "16", "--http", path, "--seconds", "\(seconds)"]
        words += tls ? ["--port", "4433", "--tls"] : ["--port", "8080"]
        words += ["--ports", "\(Subject.ports)"]
        if resume { words.append("--resume") }
        return try rate(pair, words, resume: resume)
    }

    private func rate(_ pair: HostPair, _ words: [String], joins: Bool = false, resume: Bool = false) throws -> [Double]
    {
        let (numbers, busy, own) = try counting(pair) { try load(pair, words) }
        let visits = try Bench.value(numbers, "visits")
        guard visits > 0 else { throw BenchError.failed("no connection") }
        let errors = try Bench.value(numbers, "errors")
        guard errors <= visits / 100 else {
            throw BenchError.failed("\(Int(errors)) of \(Int(errors + visits)) connections failed")
        }
        for (isWanted, name) in [(joins, "joined"), (resume, "resumed")] where isWanted {
            let got = try Bench.value(numbers, name)
            guard got >= visits * 0.9 else {
                throw BenchError.failed("only \(Int(got)) of \(Int(visits)) connections \(name)")
            }
        }
        return [try Bench.value(numbers, "rate"), busy / visits * 1000, own / visits * 1000]
    }

    /// Milliseconds to the first byte: median and the 95th of a hundred.
    func latency(_ subject: Subject, mptcp: Bool = false) throws -> [Double] {
        let words =
            ["latency", "--address", HostPair.serverAddress, "--port", mptcp ? "7200" : "7100"]
            + (mptcp ? ["--mptcp"] : [])
        return try latency(pair(subject), words)
    }

    func webLatency(tls: Bool, resume: Bool) throws -> [Double] {
        let words = [
            "latency", "--address", HostPair.serverAddress, "--port", tls ? "4433" : "8080", "--http", "/empty",
        ]
        return try latency(web(.plain), words + (tls ? ["--tls"] : []) + (resume ? ["--resume"] : []))
    }

    private func latency(_ pair: HostPair, _ words: [String]) throws -> [Double] {
        let (numbers, _, _) = try counting(pair) { try load(pair, words + ["--count", "100"]) }
        return [try Bench.value(numbers, "median"), try Bench.value(numbers, "p95")]
    }

    // MARK: - Many connections

    /// Runs `body` while so many idle connections are open; hands it how much the daemons grew for each, in KiB.
    func holding<R>(_ connections: Int, _ subject: Subject, _ body: (_ client: Double, _ server: Double) throws -> R)
        throws -> R
    {
        let purpose = "-idle"
        defer { end(subject, for: purpose) }
        let pair = try pair(subject, for: purpose)
        let words = visits("hold", subject) + ["--count", "\(connections)"]
        guard connections > 0 else { return try body(.nan, .nan) }
        let before = pair.products.map { ProcessorTime.residentMemory(of: $0.identifier) }
        let holder = try pair.start(["\(binaries)/tcpcrypt-load"] + words, on: .a, named: "hold")
        try holder.wait(seconds: 120) { holder.output.contains("open") }
        guard holder.output.contains("errors=0") else {
            throw BenchError.failed("not all connections opened: \(holder.output)")
        }
        try Interruption.sleep(seconds: 2)
        let growth = zip(pair.products, before).map {
            (ProcessorTime.residentMemory(of: $0.identifier) - $1) / Double(connections)
        }
        return try body(growth.first ?? .nan, growth.last ?? .nan)
    }
}
