import Glibc

/// What happened besides success.
public struct FirewallReport: Sendable, Equatable {
    /// Things worth a line in the log.
    public var notes: [String] = []
    /// What could not be removed, and why. Always empty after ``Firewall/install()``, which throws instead.
    public var problems: [FirewallError] = []

    public init() {}
}

/// Installs and removes the rules of one network namespace.
///
/// The order of installation leaves no moment in which a packet of an encrypted connection could pass: first the guard, then what
/// remembers verdicts, then the queues; removal goes the other way. Needs CAP_NET_ADMIN. Not for several threads at once.
public struct Firewall: Sendable {
    public let configuration: FirewallConfiguration
    public let variant: IptablesVariant
    private let runner: CommandRunner
    private let sysctlFile: String

    /// - Parameters:
    ///   - sysctlFile: keeps the previous value of nf_conntrack_tcp_be_liberal between install and remove, also over
    ///     a crash; its directory must exist.
    ///   - commandPrefix: words before every command, for example `["ip", "netns", "exec", "name"]`.
    public init(
        configuration: FirewallConfiguration, sysctlFile: String, variant: IptablesVariant = .system,
        commandPrefix: [String] = []
    ) {
        self.configuration = configuration
        self.variant = variant
        self.sysctlFile = sysctlFile
        runner = CommandRunner(prefix: commandPrefix)
    }

    /// Installs everything; what an earlier install left is replaced without a gap.
    ///
    /// - Throws: ``FirewallError``. What was installed before the error stays: it only refuses packets. Call ``remove()``.
    @discardableResult
    public func install() throws(FirewallError) -> FirewallReport {
        try configuration.validate()
        var report = FirewallReport()
        let nft = NftRules(configuration)
        try loadNft(nft.guardScript)
        try loadNft(nft.marksScript)
        for family in IPFamily.allCases {
            guard family == .ipv4 || Firewall.kernelHasIPv6 else {
                report.notes.append("the kernel has no IPv6: no ip6tables rules")
                continue
            }
            let leftovers = try listing(family)
            if !leftovers.isEmpty { report.notes.append("replaced rules left by an earlier daemon (\(family))") }
            try restore(family, IptablesRules(configuration, family: family).installation(replacing: leftovers))
        }
        try conntrackSetting.set()
        return report
    }

    /// Removes everything it can find of ours, this configuration's or another's. Goes on after errors and reports them.
    @discardableResult
    public func remove() -> FirewallReport {
        var report = FirewallReport()
        func attempt(_ body: () throws(FirewallError) -> Void) {
            do throws(FirewallError) { try body() } catch { report.problems.append(error) }
        }
        attempt { () throws(FirewallError) in try conntrackSetting.restore() }
        for family in IPFamily.allCases.reversed() where family == .ipv4 || Firewall.kernelHasIPv6 {
            attempt { () throws(FirewallError) in try removeIptables(family) }
        }
        for table in [NftRules.marksTable, NftRules.guardTable] {
            attempt { () throws(FirewallError) in try loadNft(NftRules.removalScript(table)) }
        }
        return report
    }

    // MARK: Programs

    private var conntrackSetting: ConntrackSetting { ConntrackSetting(runner: runner, file: sysctlFile) }

    private func loadNft(_ script: String) throws(FirewallError) {
        try runner.run(["nft", "-f", "-"], package: "nftables", input: script)
    }

    private func listing(_ family: IPFamily) throws(FirewallError) -> RuleListing {
        let text = try runner.run([program(family, "save"), "-t", IptablesRules.table], package: "iptables")
        return RuleListing(parsing: text)
    }

    private func restore(_ family: IPFamily, _ input: String) throws(FirewallError) {
        let command = [program(family, "restore"), "--noflush", "-w", "10"]
        try runner.run(command, package: "iptables", input: input)
    }

    private func removeIptables(_ family: IPFamily) throws(FirewallError) {
        let leftovers = try listing(family)
        guard !leftovers.isEmpty else { return }
        try restore(family, leftovers.removalScript)
    }

    private func program(_ family: IPFamily, _ action: String) -> String {
        let base = family == .ipv4 ? "iptables" : "ip6tables"
        return variant == .system ? "\(base)-\(action)" : "\(base)-\(variant.rawValue)-\(action)"
    }

    /// The file is there if and only if the IPv6 protocol is.
    private static var kernelHasIPv6: Bool { unsafe access("/proc/net/if_inet6", F_OK) == 0 }
}
