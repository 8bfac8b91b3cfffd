import Foundation

/// Two hosts in namespaces of their own, joined by two wires, and everything that runs in them.
///
///     a  p1 10.71.1.1 --------- 10.71.1.2 ... 10.71.1.17 p1  b
///        p2 10.71.2.1 --------- 10.71.2.2 p2                      (a's second address is an MPTCP endpoint while `joins` is on)
final class HostPair {
    enum Host: String, CaseIterable { case a, b }

    let name: String
    private let prefix: String
    private let folder: URL
    private var jobs: [Job] = []
    private var count = 0
    private var borrowed: [SharedFolder] = []
    /// Processes of what is measured, not of who measures.
    private(set) var products: [Job] = []
    var webServer: Job?

    static let serverAddress = "10.71.1.2"
    /// Many, so that ports do not run out.
    static let serverAddresses = 16

    /// - Parameter folder: where files of this pair go; made here.
    init(_ name: String, folder: URL) throws {
        self.name = name
        prefix = "tcb\(getpid())-\(name)"
        self.folder = folder.appendingPathComponent(name)
        try FileManager.default.createDirectory(at: self.folder, withIntermediateDirectories: true)
        do {
            try shell(HostPair.wiring, on: nil)
        } catch {
            tearDown()
            throw error
        }
    }

    private static let wiring = """
        for host in a b; do
            ip netns add $prefix-$host
            ip -n $prefix-$host link set lo up
            ip netns exec $prefix-$host sysctl -q -w net.ipv4.conf.all.rp_filter=0 net.ipv4.conf.default.rp_filter=0 \
                net.ipv6.conf.all.accept_dad=0 net.ipv6.conf.default.accept_dad=0 \
                net.ipv4.tcp_no_metrics_save=1 'net.ipv4.ip_local_port_range=10000 65535' net.core.somaxconn=4096
            ip netns exec $prefix-$host sysctl -q -w net.ipv4.tcp_congestion_control=cubic 2>/dev/null ||
                ip netns exec $prefix-$host sysctl -q -w net.ipv4.tcp_congestion_control=reno
            ip -n $prefix-$host mptcp limits set subflows 4 add_addr_accepted 4
        done
        for path in 1 2; do
            ip link add p$path netns $prefix-a type veth peer name p$path netns $prefix-b
            ip -n $prefix-a address add 10.71.$path.1/24 dev p$path
            ip -n $prefix-b address add 10.71.$path.2/24 dev p$path
            ip -n $prefix-a link set p$path up
            ip -n $prefix-b link set p$path up
        done
        for last in $(seq 3 17); do ip -n $prefix-b address add 10.71.1.$last/24 dev p1; done
        ip -n $prefix-a rule add from 10.71.2.1 lookup 102
        ip -n $prefix-a route add default via 10.71.2.2 dev p2 table 102
        """

    func path(_ file: String) -> String { folder.appendingPathComponent(file).path }

    func write(_ text: String, to file: String) throws {
        try text.write(toFile: path(file), atomically: false, encoding: .utf8)
    }

    /// Makes a folder that programs insist on, until the end.
    func borrow(_ path: String) {
        if let folder = SharedFolder(borrowing: path) { borrowed.append(folder) }
    }

    private func command(_ words: [String], on host: Host?) -> [String] {
        guard let host else { return words }
        return ["ip", "netns", "exec", "\(prefix)-\(host)"] + words
    }

    /// Runs a command to its end, and returns what it said.
    @discardableResult
    func run(_ words: [String], on host: Host?, seconds: Double = 30) throws -> String {
        count += 1
        let job = try Job(command(words, on: host), named: "run\(count)", in: folder)
        let status = try job.wait(seconds: seconds)
        guard status == 0 else {
            throw BenchError.failed("\(words.first ?? ""): \(job.lastWords)")
        }
        defer {
            for kind in ["out", "err"] { try? FileManager.default.removeItem(atPath: path("\(job.name).\(kind)")) }
        }
        return job.output
    }

    @discardableResult
    func shell(_ script: String, on host: Host?) throws -> String {
        try run(["/bin/sh", "-euc", "prefix=\(prefix)\nfolder=\(folder.path)\n" + script], on: host)
    }

    /// Starts what runs until the pair is taken down.
    func start(_ words: [String], on host: Host, named name: String, isProduct: Bool = false) throws -> Job {
        guard let program = words.first, Job.find(program) != nil else {
            throw BenchError.unavailable("\(words.first ?? "") is not installed")
        }
        let job = try Job(command(words, on: host), named: "\(name)-\(host)", in: folder)
        jobs.append(job)
        if isProduct { products.append(job) }
        return job
    }

    /// Ends one of the processes that were started here.
    func stop(_ job: Job) {
        job.stop()
        jobs.removeAll { $0 === job }
        products.removeAll { $0 === job }
    }

    func waitForListener(_ port: Int, on host: Host, of job: Job) throws {
        try job.wait(seconds: 15) {
            (try? run(["ss", "-Hltn", "sport = :\(port)"], on: host))?.isEmpty == false
        }
    }

    /// Whether a's kernel opens a second subflow, over p2.
    var joins = false {
        didSet {
            guard joins != oldValue else { return }
            let verb = joins ? "add 10.71.2.1 dev p2 subflow" : "flush"
            _ = try? shell("ip mptcp endpoint \(verb)", on: .a)
        }
    }

    /// How to ask daemons that run here, and whether they resume sessions.
    var controller: String?
    var resumes = false

    /// What the client's daemon has counted; empty without one.
    func daemonCounters() throws -> [String: Int] {
        guard let controller else { return [:] }
        let text = try run([controller, "--control", path("a.sock"), "counters", "--json"], on: nil)
        return try JSONDecoder().decode([String: Int].self, from: Data(text.utf8))
    }

    /// Ends what runs here and removes the namespaces. Never fails: what is gone already is gone.
    func tearDown() {
        for job in jobs.reversed() where job.isRunning { kill(job.identifier, SIGTERM) }
        for job in jobs.reversed() { job.stop() }
        for host in Host.allCases {
            let space = "\(prefix)-\(host)"
            // What the processes left behind: by id, and in our namespaces only.
            for word in HostPair.quietly(["ip", "netns", "pids", space], folder).split(whereSeparator: \.isWhitespace) {
                if let process = Int32(word) { kill(process, SIGKILL) }
            }
            _ = HostPair.quietly(["ip", "netns", "delete", space], folder)
        }
        for folder in borrowed { folder.giveBack() }
    }

    /// Also while a signal asks for the end.
    private static func quietly(_ words: [String], _ folder: URL) -> String {
        guard let job = try? Job(words, named: "last", in: folder) else { return "" }
        for _ in 0..<2000 where job.isRunning { usleep(2000) }
        return job.output
    }
}
