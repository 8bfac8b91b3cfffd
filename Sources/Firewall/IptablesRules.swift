/// Renders the iptables-restore input of one address family. Pure: no I/O.
///
/// Both directions live in the table *security*: it comes after the host's filter, so that the daemon sees only what the host's
/// firewall lets in, and a mark that a rule sets there does not reroute. INPUT and OUTPUT alone: forwarded packets never meet
/// a rule of ours.
///
/// A *verdict* that changes the mark of an outbound packet does reroute, in every table (measured on 6.18, nft and legacy: a flow
/// under `ip rule fwmark 7` left by the wrong device). So the mark an outbound packet shall have is set before the queue, from what
/// the connection's mark says, and the verdict should leave it alone; verdicts on inbound packets change the connection.
/// A verdict with a mark is obeyed nevertheless.
///
/// The patterns of our three bits on a packet, read afterwards by the table `tcpcrypt_marks` (see ``NftRules``):
///
/// | bits                       | meaning                                                                        |
/// |----------------------------|--------------------------------------------------------------------------------|
/// | passed                     | undecided: went to the main queue, so a live daemon let it out; or by verdict  |
/// | passed, plain              | the connection is plain: excluded, or by verdict                               |
/// | passed, encrypted          | the connection is encrypted                                                    |
/// | plain                      | our SYN or SYN-ACK, on its way through the bypassing queue: plain if unchanged |
/// | passed, plain, encrypted   | injected by the daemon: pass, remember nothing                                 |
///
/// Where there are several workers, each has queues of its own, and a chain for each use of a queue chooses among them by the ports
/// (``WorkerFilter``): it is the last thing that happens to a packet here, and leaves its mark alone.
///
/// Only what the local kernel sends, or a verdict, can make a connection plain: a SYN from outside that nobody looked at does not, or a forged
/// one could open a hole for the plaintext of an encrypted connection whose daemon died.
public struct IptablesRules: Sendable {
    static let inbound = "TCPCRYPT-IN"
    static let inboundSYN = "TCPCRYPT-IN-SYN"
    static let inboundError = "TCPCRYPT-IN-ICMP"
    static let outbound = "TCPCRYPT-OUT"
    static let outboundSYN = "TCPCRYPT-OUT-SYN"
    static let outboundSYNACK = "TCPCRYPT-OUT-SYNACK"
    static let outboundMain = "TCPCRYPT-OUT-MAIN"
    static let outboundPlain = "TCPCRYPT-OUT-PLAIN"
    /// A SYN or SYN-ACK of the local kernel that may become plain; there only where policies lead to it.
    static let outboundNew = "TCPCRYPT-OUT-NEW"
    static let chains = [
        inbound, inboundSYN, inboundError, outbound, outboundSYN, outboundSYNACK, outboundMain, outboundPlain,
    ]
    /// Every chain of ours, of this version or another, starts like this.
    static let chainPrefix = "TCPCRYPT-"
    static let table = "security"

    let configuration: FirewallConfiguration
    let family: IPFamily

    public init(_ configuration: FirewallConfiguration, family: IPFamily) {
        self.configuration = configuration
        self.family = family
    }

    /// Input for `iptables-restore --noflush`: replaces our chains, in one transaction.
    ///
    /// - Parameter leftovers: what a listing shows of ours; its jumps are deleted in the same transaction.
    public func installation(replacing leftovers: RuleListing = RuleListing()) -> String {
        var lines = ["*\(IptablesRules.table)"]
        let chains = IptablesRules.chains + policyChains + workerChains
        lines += chains.map { ":\($0) - [0:0]" }
        lines += leftovers.removal(keeping: Set(chains))
        // Last in the chain: rules of the host before ours see the packet, those behind a queue do not.
        lines.append("-A INPUT ! -i lo -p tcp -j \(IptablesRules.inbound)")
        lines.append("-A INPUT ! -i lo -p \(icmp) -j \(IptablesRules.inboundError)")
        lines.append("-A OUTPUT ! -o lo -p tcp -j \(IptablesRules.outbound)")
        lines += inboundRules + inboundSYNRules + inboundErrorRules
        lines += outboundRules + outboundSYNRules + outboundSYNACKRules + outboundEnds + policyEnds + workerRules
        lines += ["COMMIT", ""]
        return lines.joined(separator: "\n")
    }

    private var inboundRules: [String] {
        let passed = configuration.passedBit
        let plain = configuration.plainBit
        return rules(
            IptablesRules.inbound,
            [
                clearBits,
                "\(syn) -g \(IptablesRules.inboundSYN)",
                "\(synAck) \(mayBeJoin(.synAck)) \(toMain)",
                // Our SYN made it plain for the case that no daemon was there: a live one claims it here.
                "\(synAck) -m connmark --mark \(masked(plain, passed | plain)) \(toSYN)",
                "\(isPlain) -j RETURN",
                "\(isEncrypted) \(toMain)",
                // Connections that the local kernel opened: nobody else has a say in which there are.
                "-m conntrack --ctdir REPLY \(toMain)",
                toStrangers,
            ])
    }

    private var inboundSYNRules: [String] {
        let excluded = portLists("--dports").map { "\(syn) \(notMPTCP) \($0) -j RETURN" }
        let skipped = interfaces.map { "-i \($0) \(syn) \(notMPTCP) -j RETURN" }
        return rules(
            IptablesRules.inboundSYN,
            ["\(syn) \(mayBeJoin(.syn)) \(toStrangers)"] + inboundPolicies + excluded + skipped + [toSYN])
    }

    /// An error about a TCP packet of ours; what it belongs to has the mark of that connection. It carries nothing of the
    /// local host's, so that it may pass without a daemon.
    private var inboundErrorRules: [String] {
        rules(
            IptablesRules.inboundError,
            [
                "\(isPlain) -j RETURN", "\(isEncrypted) \(quotesTCP) \(errorToMain)",
                "\(quotesTCP) \(errorToStrangers)",
            ])
    }

    private var outboundRules: [String] {
        let injected = "-m owner --gid-owner \(configuration.injectorGID)"
        let unclaimed = "-m connmark --mark \(masked(0, configuration.passedBit))"
        return rules(
            IptablesRules.outbound,
            [
                // Plaintext for an address that the host has lost meanwhile.
                "-m owner --gid-owner \(configuration.localInjectorGID) -j DROP",
                clearBits,
                "\(injected) \(mark(configuration.allBits))",
                "\(injected) -j RETURN",
                "\(syn) -g \(IptablesRules.outboundSYN)",
                "\(isPlain) -j RETURN",
                "\(synAck) \(unclaimed) -g \(IptablesRules.outboundSYNACK)",
                // "Connection refused" for a SYN that no daemon saw.
                "\(reset) \(unclaimed) \(toSYN)",
                "-g \(IptablesRules.outboundMain)",
            ])
    }

    private var outboundSYNRules: [String] {
        rules(IptablesRules.outboundSYN, opening(syn, .syn, ports: "--dports"))
    }

    private var outboundSYNACKRules: [String] {
        rules(IptablesRules.outboundSYNACK, opening(synAck, .synAck, ports: "--sports"))
    }

    /// A SYN or SYN-ACK of the local kernel. Neither is sent for a connection that is established: it may become plain.
    private func opening(_ flags: String, _ segment: JoinSegment, ports: String) -> [String] {
        let toPlain = "-g \(IptablesRules.outboundPlain)"
        return ["\(flags) \(mayBeJoin(segment)) -g \(IptablesRules.outboundMain)"]
            + outboundPolicies(flags, ports: ports) + portLists(ports).map { "\(flags) \(notMPTCP) \($0) \(toPlain)" }
            + interfaces.map { "-o \($0) \(flags) \(notMPTCP) \(toPlain)" }
            + [mark(configuration.plainBit), toSYN]
    }

    private var outboundEnds: [String] {
        let passed = configuration.passedBit
        let encrypted = configuration.encryptedBit
        return rules(
            IptablesRules.outboundMain, [mark(passed), "\(isEncrypted) \(mark(passed | encrypted))", toMain])
            + rules(IptablesRules.outboundPlain, [mark(passed | configuration.plainBit)])
    }
}
