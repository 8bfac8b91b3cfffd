/// A table that can be measured.
struct TableSpecification: Sendable {
    struct RowSpecification: Sendable {
        var name: String
        var measure: @Sendable (Bench) throws -> [Double]
    }

    var name: String
    var title: String
    var note = ""
    var metrics: [Metric]
    var references: [String] = []
    var relation = Relation.ratio
    var rows: [RowSpecification]
    /// Tables that say the same in each round are measured fewer times.
    var roundsAtMost = Int.max

    static let all = [
        setup, joins, encryption, eightFlows, mptcp, staticPages, dynamicPages, latency, latencyMPTCP, memory, crowd,
        parts, crowdedEngines,
    ]

    private static let bulkMetrics = [
        Metric(name: "Gbit/s", unit: "Gbit/s"), Metric(name: "CPU s/GB", unit: "s/GB", isBetterHigh: false),
        Metric(name: "its programs", unit: "s/GB", isBetterHigh: false),
    ]
    private static let rateMetrics = [
        Metric(name: "per second", unit: "1/s", digits: 0),
        Metric(name: "CPU ms each", unit: "ms", isBetterHigh: false, digits: 3),
        Metric(name: "its programs", unit: "ms", isBetterHigh: false, digits: 3),
    ]
    private static let latencyMetrics = [
        Metric(name: "median ms", unit: "ms", isBetterHigh: false, digits: 3),
        Metric(name: "p95 ms", unit: "ms", isBetterHigh: false, digits: 3),
    ]
    private static let diverted: [Subject] = [.plain, .accept, .mangle, .cipher]
    private static let references = [Subject.plain.title, Subject.mangle.title]

    private static func rows(
        _ subjects: [Subject], _ suffix: String = "", _ measure: @escaping @Sendable (Bench, Subject) throws -> [Double]
    ) -> [RowSpecification] {
        subjects.map { subject in RowSpecification(name: subject.title + suffix) { try measure($0, subject) } }
    }

    // MARK: - The tables of the talks

    static let setup = TableSpecification(
        name: "setup", title: "Connection setup",
        note:
            "16 threads: connect, one byte each way, close. Through nginx: a request answered 204; TLS with ECDSA P-256.",
        metrics: rateMetrics, references: references,
        rows: rows(diverted + [.tcpcryptd, .fresh]) { try $0.connections($1) } + [
            RowSpecification(name: "nginx, no TLS") { try $0.requests(.plain, "/empty") }
        ] + overTLS("/empty"))

    /// As in the talks: TLS by itself, and with every packet of it going through user space.
    private static func overTLS(_ path: String) -> [RowSpecification] {
        [Subject.plain, .mangle].flatMap { subject in
            [true, false].map { resume in
                let name = "nginx TLS 1.3, " + (resume ? "resumed" : "full") + (subject == .plain ? "" : ", diverted")
                return RowSpecification(name: name) { try $0.requests(subject, path, tls: true, resume: resume) }
            }
        }
    }

    static let encryption = TableSpecification(
        name: "encryption", title: "Encryption: one flow", metrics: bulkMetrics,
        references: references + [Subject.cipher.title],
        rows: rows(diverted + [.tcpcryptd]) { try $0.bulk($1, flows: 1) } + [
            RowSpecification(name: "nginx TLS 1.3, download") { try $0.download(flows: 1) }
        ] + rows([.stunnel, .ssh, .wireguard, .tunnel, .tunnelCipher]) { try $0.bulk($1, flows: 1) })

    static let staticPages = web("web-static", "Web server, static content", "/static")
    static let dynamicPages = web("web-dynamic", "Web server, dynamic content", "/dynamic")

    private static func web(_ name: String, _ title: String, _ path: String) -> TableSpecification {
        TableSpecification(
            name: name, title: title, note: "Requests per second through nginx, a connection for each, 16 threads.",
            metrics: rateMetrics, references: references,
            rows: rows([.plain, .mangle, .tcpcryptd, .fresh]) { try $0.requests($1, path) } + overTLS(path))
    }

    static let latency = TableSpecification(
        name: "latency", title: "Connect latency",
        note: "From connect() to the first byte of the answer, one connection at a time, 5 ms apart, on an idle link.",
        metrics: latencyMetrics, references: references, relation: .difference,
        rows: rows(diverted + [.tcpcryptd, .fresh]) { try $0.latency($1) } + [
            RowSpecification(name: "nginx, no TLS") { try $0.webLatency(tls: false, resume: false) },
            RowSpecification(name: "nginx TLS 1.3, resumed") { try $0.webLatency(tls: true, resume: true) },
            RowSpecification(name: "nginx TLS 1.3, full") { try $0.webLatency(tls: true, resume: false) },
        ])

    // MARK: - Others

    static let latencyMPTCP = TableSpecification(
        name: "latency-mptcp", title: "Connect latency, MPTCP", note: "As above.", metrics: latencyMetrics,
        references: references,
        relation: .difference,
        rows: rows([.plain, .mangle, .tcpcryptd, .fresh]) { try $0.latency($1, mptcp: true) })

    static let eightFlows = TableSpecification(
        name: "encryption-8", title: "Encryption: eight flows",
        note: "divert-nothing has a queue and a thread for each flow.",
        metrics: bulkMetrics, references: references + [Subject.cipher.title],
        rows: rows(diverted + [.tcpcryptd]) { try $0.bulk($1, flows: 8) } + [
            RowSpecification(name: "nginx TLS 1.3, download") { try $0.download(flows: 8) }
        ] + rows([.stunnel, .ssh, .wireguard, .tunnel, .tunnelCipher]) { try $0.bulk($1, flows: 8) })

    static let mptcp = TableSpecification(
        name: "mptcp", title: "MPTCP, one flow", note: "divert-nothing has a thread for each path.",
        metrics: bulkMetrics,
        references: [
            "plain, 1 path", "do-nothing (mangling), 1 path", "tcpcryptd, 1 path", "do-nothing (mangling), 2 paths",
        ],
        rows: rows([.plain, .mangle, .cipher, .tcpcryptd], ", 1 path") { try $0.bulk($1, flows: 1, mptcpPaths: 1) }
            + rows([.plain, .mangle, .cipher, .tcpcryptd], ", 2 paths") { try $0.bulk($1, flows: 1, mptcpPaths: 2) })

    static let joins = TableSpecification(
        name: "joins", title: "MPTCP connection setup",
        note: "As for connection setup; with a join each connection waits until its second subflow is there.",
        metrics: rateMetrics,
        references: ["plain", "do-nothing (mangling)", "plain, and a join", "do-nothing (mangling), and a join"],
        rows: rows([.plain, .mangle, .tcpcryptd, .fresh]) { try $0.connections($1, mptcp: true) }
            + rows([.plain, .mangle, .tcpcryptd, .fresh], ", and a join") {
                try $0.connections($1, mptcp: true, joins: true)
            })

    static let memory = TableSpecification(
        name: "memory", title: "Memory of idle encrypted connections",
        note: "What the daemons' resident memory grows by, divided by the connections.",
        metrics: [
            Metric(name: "client KiB", unit: "KiB", isBetterHigh: false),
            Metric(name: "server KiB", unit: "KiB", isBetterHigh: false),
        ],
        rows: [2000, 5000, 10000].map { count in
            RowSpecification(name: "\(count) connections") { try $0.holding(count, .tcpcryptd) { [$0, $1] } }
        }, roundsAtMost: 2)

    static let crowd = TableSpecification(
        name: "crowd", title: "One flow beside idle connections", metrics: bulkMetrics,
        references: ["tcpcryptd, 0 idle", "do-nothing (mangling), 0 idle"],
        rows: [Subject.mangle, .tcpcryptd].flatMap { subject in
            [0, 1000, 10000].map { count in
                RowSpecification(name: "\(subject.title), \(count) idle") { bench in
                    try bench.holding(count, subject) { _, _ in try bench.bulk(subject, flows: 1, for: "-idle") }
                }
            }
        }, roundsAtMost: 3)
}
