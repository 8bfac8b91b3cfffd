import DaemonCore
import FlowEngine
import Logging
import Tcpcrypt

/// The daemon's settings: defaults, changed by the configuration file (tcpcryptd.conf(5)).
struct DaemonSettings: Equatable {
    /// Read where no file is named; it may be absent.
    static let defaultPath = "/etc/tcpcryptd.conf"

    /// Key-agreement schemes offered, most wanted first. Never empty.
    var teps: [TEP] = [.curve25519MPTCP, .curve25519]
    /// AEADs offered, most wanted first. Never empty.
    var aeads: [AEADAlgorithm] = [.aes128GCM]
    /// Destination ports of connections left alone (never of joins): services that encrypt by themselves.
    var excludedPorts: [UInt16] = [22, 443, 465, 636, 853, 989, 990, 992, 993, 994, 995, 8443]
    /// What is wanted of which connections; the first that matches counts, and comes before the excluded ports.
    var policies: [PolicyRule] = []
    /// Whether sessions are cached and resumed.
    var resumption = true
    /// How long after its key exchange a session may be resumed, in seconds.
    var sessionLifetime = 86_400
    /// Sessions cached at once.
    var maximumSessions = 32_768
    /// Bytes of nonce that are sent to resume a session, where there is room for them.
    var resumptionNonce = 8
    /// Threads that share the packets.
    var workers = DaemonConfiguration.usualWorkers
    /// NFQUEUE numbers of this network namespace; different. Each further worker has its own, greater by 10.
    var mainQueue: UInt16 = 31850
    var synQueue: UInt16 = 31851
    var strangerQueue: UInt16 = 31852
    /// The lowest of three consecutive bits of the packet and connection mark, 0 to 29.
    var markBit = 28
    var logLevel = Logger.Level.info
    /// Interfaces left alone besides the loopback, as iptables writes them.
    var skipInterfaces: [String] = []
    /// Flows tracked at once; connections beyond that are ordinary TCP.
    var maximumFlows = 262_144
    /// How many bytes one key encrypts, and for how many seconds keys are used that were (RFC 8548 section 3.8).
    var rekeyBytes = Int(EngineConfiguration().mostBytesUnderKey)
    var rekeySeconds = Int(EngineConfiguration().oldestKeyMilliseconds / 1_000)
    /// Absolute path of the file to write keys to; nil for none.
    var keyLog: String?
    /// The hypervisor's clock device, which need not exist.
    var machineClock = DaemonConfiguration().machineClock

    /// The mark bits: of a packet that passed the daemon, of a plain connection, of an encrypted one.
    var markBits: (passed: UInt32, plain: UInt32, encrypted: UInt32) {
        let lowest = UInt32(1) << UInt32(markBit)
        return (lowest, lowest << 1, lowest << 2)
    }

    /// Reads the file at `path`, or ``defaultPath`` if there is one.
    static func load(path: String?) async throws(SettingsError) -> DaemonSettings {
        try DaemonSettings(await SettingsReader(path: path ?? defaultPath, optional: path == nil))
    }

    private init(_ reader: SettingsReader) throws(SettingsError) {
        try reader.requireKnown(Self.keys)
        teps = try reader.choices("teps", Self.tepNames, default: teps)
        aeads = try reader.choices("aeads", Self.aeadNames, default: aeads)
        if teps.isEmpty { throw reader.bad("teps", "an array of at least one name") }
        if aeads.isEmpty { throw reader.bad("aeads", "an array of at least one name") }
        let ports = try reader.integers("excluded_ports", in: 1...65_535, default: excludedPorts.map { Int($0) })
        excludedPorts = Set(ports.map { UInt16(clamping: $0) }).sorted()
        policies = try reader.policies("policies")
        resumption = try reader.bool("resumption", default: resumption)
        sessionLifetime = try reader.integer("session_lifetime", in: 1...31_536_000, default: sessionLifetime)
        maximumSessions = try reader.integer("max_sessions", in: 1...16_777_216, default: maximumSessions)
        resumptionNonce = try reader.integer("resumption_nonce", in: 0...8, default: resumptionNonce)
        mainQueue = UInt16(clamping: try reader.integer("main_queue", in: 0...65_535, default: Int(mainQueue)))
        synQueue = UInt16(clamping: try reader.integer("syn_queue", in: 0...65_535, default: Int(synQueue)))
        if mainQueue == synQueue { throw reader.bad("syn_queue", "another queue than main_queue (\(mainQueue))") }
        strangerQueue = UInt16(
            clamping: try reader.integer("stranger_queue", in: 0...65_535, default: Int(strangerQueue)))
        if [mainQueue, synQueue].contains(strangerQueue) {
            throw reader.bad(
                "stranger_queue", "another queue than main_queue (\(mainQueue)) and syn_queue (\(synQueue))")
        }
        workers = try reader.integer("workers", in: 1...DaemonConfiguration.mostWorkers, default: workers)
        // Nobody asked for so many.
        while !reader.has("workers"), workers > 1, daemonConfiguration.queuesClash { workers -= 1 }
        if daemonConfiguration.queuesClash {
            throw reader.bad("workers", "fewer: the queues of each have numbers greater by 10, and all must differ")
        }
        markBit = try reader.integer("mark_bit", in: 0...29, default: markBit)
        logLevel = try reader.choice("log_level", Self.levelNames, default: logLevel)
        skipInterfaces = try reader.strings(
            "skip_interfaces", "an array of interface names, each at most 15 letters, + at the end as a wildcard",
            default: skipInterfaces, where: Self.isInterfaceName)
        maximumFlows = try reader.integer("max_flows", in: 1...16_777_216, default: maximumFlows)
        rekeyBytes = try reader.integer("rekey_bytes", in: 1 << 16...1 << 40, default: rekeyBytes)
        rekeySeconds = try reader.integer("rekey_seconds", in: 1...604_800, default: rekeySeconds)
        keyLog = try reader.absolutePath("key_log")
        machineClock = try reader.absolutePath("machine_clock") ?? machineClock
    }

    /// Every key of the file.
    static let keys = [
        "teps", "aeads", "excluded_ports", "policies", "resumption", "session_lifetime", "max_sessions",
        "resumption_nonce", "workers", "main_queue", "syn_queue", "stranger_queue", "mark_bit", "log_level",
        "skip_interfaces", "max_flows", "rekey_bytes", "rekey_seconds", "key_log", "machine_clock",
    ]

    /// Short names first, then those of IANA's registry, as `tcpcryptctl` shows them.
    private static let tepNames: [(name: String, value: TEP)] =
        [
            ("Curve25519-MPTCP", .curve25519MPTCP), ("Curve25519", .curve25519), ("Curve448", .curve448),
            ("P256", .p256), ("P521", .p521),
        ]
        + TEP.allCases.map { ($0.name, $0) }

    private static let aeadNames: [(name: String, value: AEADAlgorithm)] =
        [("AES-128-GCM", .aes128GCM), ("AES-256-GCM", .aes256GCM), ("ChaCha20-Poly1305", .chacha20Poly1305)]
        + AEADAlgorithm.allCases.map { ($0.name, $0) }

    private static let levelNames = Logger.Level.allCases.map { (name: $0.rawValue, value: $0) }

    /// What the kernel accepts as a name, less what a firewall rule would need quoted.
    private static func isInterfaceName(_ name: String) -> Bool {
        !name.isEmpty && name.utf8.count <= 15 && name != "." && name != ".." && !name.hasPrefix("-")
            && name.utf8.allSatisfy { $0 > 0x20 && $0 < 0x7F && !#""'\/:;!"#.utf8.contains($0) }
    }
}
