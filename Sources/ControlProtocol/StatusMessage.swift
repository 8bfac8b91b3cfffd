/// The daemon as a whole.
public struct StatusMessage: ControlMessage {
    /// Flows known now, by state.
    public struct Flows: ControlMessage {
        public var handshake: Int
        public var encrypted: Int
        public var plain: Int

        public init(handshake: Int, encrypted: Int, plain: Int) {
            self.handshake = handshake
            self.encrypted = encrypted
            self.plain = plain
        }

        public var json: JSONValue {
            ["handshake": .integer(handshake), "encrypted": .integer(encrypted), "plain": .integer(plain)]
        }

        public init(json: JSONValue) throws(ControlProtocolError) {
            let reader = try ObjectReader(json, "flows")
            handshake = try reader.integer("handshake")
            encrypted = try reader.integer("encrypted")
            plain = try reader.integer("plain")
        }
    }

    /// Where keys are written for whoever is to read captures.
    public struct KeyLog: ControlMessage {
        public var path: String
        /// Connections whose keys this daemon wrote there.
        public var lines: UInt64
        /// Connections whose keys it could not write.
        public var failures: UInt64

        public init(path: String, lines: UInt64, failures: UInt64) {
            self.path = path
            self.lines = lines
            self.failures = failures
        }

        public var json: JSONValue { ["path": .string(path), "lines": .count(lines), "failures": .count(failures)] }

        public init(json: JSONValue) throws(ControlProtocolError) {
            let reader = try ObjectReader(json, "key_log")
            path = try reader.string("path")
            lines = try reader.count("lines")
            failures = try reader.count("failures")
        }
    }

    public var version: String
    /// Milliseconds since the daemon started.
    public var uptimeMilliseconds: Int
    /// Names of the TEPs offered, in the order of preference.
    public var teps: [String]
    /// Names of the AEADs offered, in the order of preference.
    public var aeads: [String]
    /// Whether cached sessions are used (RFC 8548 section 3.5).
    public var resumption: Bool
    /// Destination ports of SYNs left alone (never of joins).
    public var excludedPorts: [Int]
    /// How many policies were configured.
    public var policies = 0
    /// Whether the system's randomness is seeded: until it is nothing is encrypted (RFC 8547 section 10).
    public var randomnessSeeded = true
    /// Threads that share the packets.
    public var workers: Int
    /// Numbers of the netfilter queues, three for each worker.
    public var queues: [Int]
    public var flows: Flows
    /// Cached sessions.
    public var sessions: Int
    /// Nil where no keys are written.
    public var keyLog: KeyLog?
    public var counters: CountersMessage

    public init(
        version: String, uptimeMilliseconds: Int, teps: [String], aeads: [String], resumption: Bool,
        excludedPorts: [Int], workers: Int, queues: [Int], flows: Flows, sessions: Int, keyLog: KeyLog? = nil,
        counters: CountersMessage
    ) {
        self.version = version
        self.uptimeMilliseconds = uptimeMilliseconds
        self.teps = teps
        self.aeads = aeads
        self.resumption = resumption
        self.excludedPorts = excludedPorts
        self.workers = workers
        self.queues = queues
        self.flows = flows
        self.sessions = sessions
        self.keyLog = keyLog
        self.counters = counters
    }

    public var json: JSONValue {
        [
            "version": .string(version),
            "uptime_ms": .integer(uptimeMilliseconds),
            "teps": .strings(teps),
            "aeads": .strings(aeads),
            "resumption": .bool(resumption),
            "excluded_ports": .integers(excludedPorts),
            "policies": .integer(policies),
            "randomness_seeded": .bool(randomnessSeeded),
            "workers": .integer(workers),
            "queues": .integers(queues),
            "flows": flows.json,
            "sessions": .integer(sessions),
            "key_log": keyLog?.json ?? .null,
            "counters": counters.json,
        ]
    }

    public init(json: JSONValue) throws(ControlProtocolError) {
        let reader = try ObjectReader(json, "status")
        version = try reader.string("version")
        uptimeMilliseconds = try reader.integer("uptime_ms")
        teps = try reader.strings("teps")
        aeads = try reader.strings("aeads")
        resumption = try reader.bool("resumption")
        excludedPorts = try reader.integers("excluded_ports")
        policies = try reader.integer("policies")
        randomnessSeeded = try reader.bool("randomness_seeded")
        workers = try reader.integer("workers")
        queues = try reader.integers("queues")
        flows = try Flows(json: reader.value("flows"))
        sessions = try reader.integer("sessions")
        keyLog = try reader.optionalMessage("key_log")
        counters = try CountersMessage(json: reader.value("counters"))
    }
}
