import PacketWire

/// The rules for policies, in their order: each SYN, and each SYN-ACK that nothing was decided about, meets the first one that matches.
///
/// What requires encryption takes the queues that have no bypass: that of strangers, or the main one for what the local kernel sends. A SYN
/// that waits there has marked its connection as none that may be plain.
extension IptablesRules {
    var policyChains: [String] { configuration.policies.isEmpty ? [] : [IptablesRules.outboundNew] }

    var policyEnds: [String] {
        configuration.policies.isEmpty ? [] : rules(IptablesRules.outboundNew, [mark(configuration.plainBit), toSYN])
    }

    var inboundPolicies: [String] {
        configuration.policies.flatMap { policy in
            matches(policy, address: "-s", ports: "--dports").flatMap { match in
                switch policy.treatment {
                case .required: ["\(syn)\(match) \(toStrangers)"]
                case .preferred: ["\(syn)\(match) \(toSYN)"]
                case .leftAlone: ["\(syn) \(notMPTCP)\(match) -j RETURN", "\(syn)\(match) \(toSYN)"]
                }
            }
        }
    }

    /// - Parameters:
    ///   - flags: of a SYN or a SYN-ACK.
    ///   - ports: `--dports` of the one, `--sports` of the other.
    func outboundPolicies(_ flags: String, ports: String) -> [String] {
        let toNew = "-g \(IptablesRules.outboundNew)"
        return configuration.policies.flatMap { policy in
            matches(policy, address: "-d", ports: ports).flatMap { match in
                switch policy.treatment {
                case .required: ["\(flags)\(match) -g \(IptablesRules.outboundMain)"]
                case .preferred: ["\(flags)\(match) \(toNew)"]
                case .leftAlone:
                    ["\(flags) \(notMPTCP)\(match) -g \(IptablesRules.outboundPlain)", "\(flags)\(match) \(toNew)"]
                }
            }
        }
    }

    /// What a rule says to match the policy in this family, each with a space in front; none where all its prefixes are of the other one.
    private func matches(_ policy: FirewallPolicy, address: String, ports: String) -> [String] {
        let prefixes = policy.prefixes.filter { $0.isIPv6 == (family == .ipv6) }
        guard policy.prefixes.isEmpty || !prefixes.isEmpty else { return [] }
        let addresses = prefixes.isEmpty ? [""] : prefixes.map { " \(address) \($0)" }
        let lists = policy.ports.isEmpty ? [""] : portLists(ports, policy.ports).map { " \($0)" }
        return addresses.flatMap { address in lists.map { address + $0 } }
    }
}
