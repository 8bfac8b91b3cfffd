public import PacketWire

/// New connections that are to be treated alike, whatever the ports and interfaces left alone say.
public struct FirewallPolicy: Sendable, Equatable {
    public enum Treatment: Sendable, Equatable {
        /// Without a daemon, or with a full queue, nothing passes.
        case required
        /// Without a daemon they pass.
        case preferred
        /// They are not queued; but of MPTCP the daemon has to know the tokens, and they pass without one.
        case leftAlone
    }

    /// Of the peer; empty for any.
    public var prefixes: [IPPrefix]
    /// To which the SYN goes; empty for any.
    public var ports: [ClosedRange<UInt16>]
    public var treatment: Treatment

    public init(prefixes: [IPPrefix], ports: [ClosedRange<UInt16>], treatment: Treatment) {
        self.prefixes = prefixes
        self.ports = ports
        self.treatment = treatment
    }
}

/// What the rules are made of. Bits of the packet and connection mark are host-order values of `skb->mark`.
public struct FirewallConfiguration: Sendable, Equatable {
    /// NFQUEUE number of what must never pass without the daemon, if a connection known to be encrypted or our own kernel is in it.
    public var mainQueue: UInt16 = 31850
    /// NFQUEUE number of what must not pass either, but may come of anybody: however much of it there is, it fills a queue of its own.
    public var strangerQueue: UInt16 = 31852
    /// NFQUEUE number of what passes when no daemon listens: SYN and SYN-ACK that are not MP_JOIN.
    public var synQueue: UInt16 = 31851
    /// How many workers share the work. Those queues are the first one's; each of the others has numbers greater by ``queueStride``.
    public var workers = 1
    /// Packet: a live daemon saw it. Connection: a live daemon took part in it.
    public var passedBit: UInt32 = 0x1000_0000
    /// The connection is ordinary TCP and exempt from the main queue.
    public var plainBit: UInt32 = 0x2000_0000
    /// The connection is encrypted: the guard refuses its packets that did not pass the daemon.
    public var encryptedBit: UInt32 = 0x4000_0000
    /// File-system group of the processes or threads that open the raw sockets for injection (xt_owner looks at the
    /// `fsgid` at the time of socket(2)).
    public var injectorGID: UInt32 = 31856
    /// The same of the sockets that inject into the local stack: nothing of theirs leaves the host.
    public var localInjectorGID: UInt32 { injectorGID &+ 1 }
    /// Destination ports of connections to leave alone (never applied to MPTCP SYNs).
    public var excludedPorts: [UInt16]
    /// Interfaces whose new connections are left alone, as iptables writes them (a trailing + is a wildcard). Like ports they
    /// never apply to MPTCP SYNs. "lo" is always skipped as a whole: packets injected to the local host travel over it.
    public var skippedInterfaces: [String]

    /// The first that matches counts, before ``excludedPorts`` and ``skippedInterfaces``.
    public var policies: [FirewallPolicy] = []

    /// Services that encrypt by themselves.
    public static let secureServicePorts: [UInt16] = [22, 443, 465, 636, 853, 989, 990, 992, 993, 994, 995, 8443]

    public init(
        excludedPorts: [UInt16] = FirewallConfiguration.secureServicePorts, skippedInterfaces: [String] = ["lo"]
    ) {
        self.excludedPorts = excludedPorts
        self.skippedInterfaces = skippedInterfaces
    }

    public static let mostWorkers = 16
    public static let queueStride = 10

    /// The queue that `queue` of worker 0 is for another worker.
    public static func queue(_ queue: UInt16, ofWorker worker: Int) -> UInt16 {
        UInt16(clamping: Int(queue) + queueStride * worker)
    }

    /// All bits that are ours: no rule of ours touches others.
    public var allBits: UInt32 { passedBit | plainBit | encryptedBit }

    /// - Throws: ``FirewallError/configuration(_:)`` for values that cannot be rendered safely.
    public func validate() throws(FirewallError) {
        let bits = [passedBit, plainBit, encryptedBit]
        guard bits.allSatisfy({ $0.nonzeroBitCount == 1 }), allBits.nonzeroBitCount == 3 else {
            throw .configuration("the mark bits must be three different single bits")
        }
        guard (1...FirewallConfiguration.mostWorkers).contains(workers) else {
            throw .configuration("from 1 to \(FirewallConfiguration.mostWorkers) workers")
        }
        // Numbers beyond the last one are clamped, so that two of them are the same.
        let queues = [mainQueue, synQueue, strangerQueue].flatMap { queue in
            (0..<workers).map { FirewallConfiguration.queue(queue, ofWorker: $0) }
        }
        guard Set(queues).count == queues.count else {
            throw .configuration("the queue numbers must differ, those of all \(workers) workers")
        }
        for name in skippedInterfaces where !FirewallConfiguration.isInterfaceName(name) {
            throw .configuration("not an interface name: \(name.debugDescription)")
        }
    }

    /// What the kernel accepts as a name, less what would need quoting in a rule.
    private static func isInterfaceName(_ name: String) -> Bool {
        !name.isEmpty && name.utf8.count <= 15 && name != "." && name != ".." && !name.hasPrefix("-") && name != "!"
            && name.utf8.allSatisfy { $0 > 0x20 && $0 < 0x7F && !#""'\/:;"#.utf8.contains($0) }
    }
}

/// Which family of commands writes the rules.
public enum IptablesVariant: String, Sendable, CaseIterable {
    /// What the system calls `iptables`.
    case system
    case nft
    case legacy
}

public enum FirewallError: Error, Sendable, Equatable, CustomStringConvertible {
    /// The configuration cannot be rendered.
    case configuration(String)
    /// A program is not installed.
    case missingProgram(String, package: String)
    /// A program could not be started.
    case spawn(program: String, errno: Int32)
    /// A program failed; `message` is its standard error.
    case failed(command: String, status: Int32, message: String)

    public var description: String {
        switch self {
        case .configuration(let text): "firewall configuration: \(text)"
        case .missingProgram(let name, let package):
            "\(name) was not found in /usr/sbin, /sbin, /usr/bin or /bin: install it (Debian and Ubuntu: apt install \(package))"
        case .spawn(let program, let code): "cannot run \(program): errno \(code)"
        case .failed(let command, let status, let message): "\(command) failed with status \(status): \(message)"
        }
    }
}
