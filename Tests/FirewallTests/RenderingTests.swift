import PacketWire
import Testing

@testable import Firewall

@Suite struct RenderingTests {
    private let configuration = FirewallConfiguration()

    private func lines(_ family: IPFamily = .ipv4, _ configuration: FirewallConfiguration = .init()) -> [String] {
        IptablesRules(configuration, family: family).installation().split(separator: "\n").map(String.init)
    }

    /// The bytecode by its name, so that rules can be read.
    private func readable(_ line: String) -> String {
        let errors = JoinFilter.bytecode(ErrorFilter.program(.ipv4))
        return JoinSegment.allCases.reduce(line.replacing(errors, with: "<errors>")) { text, segment in
            let bytecode = JoinFilter.bytecode(JoinFilter.program(.ipv4, segment))
            return text.replacing(bytecode, with: "<\(segment)>")
        }
    }

    @Test func theWholeFileOfIPv4() {
        let expected = """
            *security
            :TCPCRYPT-IN - [0:0]
            :TCPCRYPT-IN-SYN - [0:0]
            :TCPCRYPT-IN-ICMP - [0:0]
            :TCPCRYPT-OUT - [0:0]
            :TCPCRYPT-OUT-SYN - [0:0]
            :TCPCRYPT-OUT-SYNACK - [0:0]
            :TCPCRYPT-OUT-MAIN - [0:0]
            :TCPCRYPT-OUT-PLAIN - [0:0]
            -A INPUT ! -i lo -p tcp -j TCPCRYPT-IN
            -A INPUT ! -i lo -p icmp -j TCPCRYPT-IN-ICMP
            -A OUTPUT ! -o lo -p tcp -j TCPCRYPT-OUT
            -A TCPCRYPT-IN -m mark ! --mark 0x0/0x70000000 -j MARK --set-xmark 0x0/0x70000000
            -A TCPCRYPT-IN SYNONLY -g TCPCRYPT-IN-SYN
            -A TCPCRYPT-IN SYNACK --tcp-option 30 -m bpf --bytecode "<synAck>" MAIN
            -A TCPCRYPT-IN SYNACK -m connmark --mark 0x20000000/0x30000000 BYPASS
            -A TCPCRYPT-IN -m connmark --mark 0x20000000/0x20000000 -j RETURN
            -A TCPCRYPT-IN -m connmark --mark 0x40000000/0x40000000 MAIN
            -A TCPCRYPT-IN -m conntrack --ctdir REPLY MAIN
            -A TCPCRYPT-IN STRANGERS
            -A TCPCRYPT-IN-SYN SYNONLY --tcp-option 30 -m bpf --bytecode "<syn>" STRANGERS
            -A TCPCRYPT-IN-SYN SYNONLY ! --tcp-option 30 -m multiport --dports 22,443 -j RETURN
            -A TCPCRYPT-IN-SYN -i wg0 SYNONLY ! --tcp-option 30 -j RETURN
            -A TCPCRYPT-IN-SYN BYPASS
            -A TCPCRYPT-IN-ICMP -m connmark --mark 0x20000000/0x20000000 -j RETURN
            -A TCPCRYPT-IN-ICMP -m connmark --mark 0x40000000/0x40000000 -m bpf --bytecode "<errors>" MAIN --queue-bypass
            -A TCPCRYPT-IN-ICMP -m bpf --bytecode "<errors>" STRANGERS --queue-bypass
            -A TCPCRYPT-OUT -m owner --gid-owner 31857 -j DROP
            -A TCPCRYPT-OUT -m mark ! --mark 0x0/0x70000000 -j MARK --set-xmark 0x0/0x70000000
            -A TCPCRYPT-OUT -m owner --gid-owner 31856 -j MARK --set-xmark 0x70000000/0x70000000
            -A TCPCRYPT-OUT -m owner --gid-owner 31856 -j RETURN
            -A TCPCRYPT-OUT SYNONLY -g TCPCRYPT-OUT-SYN
            -A TCPCRYPT-OUT -m connmark --mark 0x20000000/0x20000000 -j RETURN
            -A TCPCRYPT-OUT SYNACK -m connmark --mark 0x0/0x10000000 -g TCPCRYPT-OUT-SYNACK
            -A TCPCRYPT-OUT -p tcp -m tcp --tcp-flags RST RST -m connmark --mark 0x0/0x10000000 BYPASS
            -A TCPCRYPT-OUT -g TCPCRYPT-OUT-MAIN
            -A TCPCRYPT-OUT-SYN SYNONLY --tcp-option 30 -m bpf --bytecode "<syn>" -g TCPCRYPT-OUT-MAIN
            -A TCPCRYPT-OUT-SYN SYNONLY ! --tcp-option 30 -m multiport --dports 22,443 -g TCPCRYPT-OUT-PLAIN
            -A TCPCRYPT-OUT-SYN -o wg0 SYNONLY ! --tcp-option 30 -g TCPCRYPT-OUT-PLAIN
            -A TCPCRYPT-OUT-SYN -j MARK --set-xmark 0x20000000/0x70000000
            -A TCPCRYPT-OUT-SYN BYPASS
            -A TCPCRYPT-OUT-SYNACK SYNACK --tcp-option 30 -m bpf --bytecode "<synAck>" -g TCPCRYPT-OUT-MAIN
            -A TCPCRYPT-OUT-SYNACK SYNACK ! --tcp-option 30 -m multiport --sports 22,443 -g TCPCRYPT-OUT-PLAIN
            -A TCPCRYPT-OUT-SYNACK -o wg0 SYNACK ! --tcp-option 30 -g TCPCRYPT-OUT-PLAIN
            -A TCPCRYPT-OUT-SYNACK -j MARK --set-xmark 0x20000000/0x70000000
            -A TCPCRYPT-OUT-SYNACK BYPASS
            -A TCPCRYPT-OUT-MAIN -j MARK --set-xmark 0x10000000/0x70000000
            -A TCPCRYPT-OUT-MAIN -m connmark --mark 0x40000000/0x40000000 -j MARK --set-xmark 0x50000000/0x70000000
            -A TCPCRYPT-OUT-MAIN MAIN
            -A TCPCRYPT-OUT-PLAIN -j MARK --set-xmark 0x30000000/0x70000000
            COMMIT
            """
            .replacing("SYNONLY", with: "-p tcp -m tcp --tcp-flags SYN,RST,ACK SYN")
            .replacing(" SYNACK", with: " -p tcp -m tcp --tcp-flags SYN,RST,ACK SYN,ACK")
            .replacing(" MAIN", with: " -j NFQUEUE --queue-num 31850")
            .replacing(" STRANGERS", with: " -j NFQUEUE --queue-num 31852")
            .replacing(" BYPASS", with: " -j NFQUEUE --queue-num 31851 --queue-bypass")
        let configuration = FirewallConfiguration(excludedPorts: [443, 22], skippedInterfaces: ["lo", "wg0"])
        #expect(lines(.ipv4, configuration).map(readable) == expected.split(separator: "\n").map(String.init))
    }

    /// Three workers: what chose a queue now goes to a chain that chooses the worker; nothing else changes.
    @Test(arguments: IPFamily.allCases) func severalWorkersHaveChainsOfTheirOwn(_ family: IPFamily) {
        var configuration = FirewallConfiguration(excludedPorts: [22])
        let before = lines(family, configuration)
        configuration.workers = 3
        let chains = ["TO-MAIN", "TO-STRANGERS", "TO-SYN", "ERROR-TO-MAIN", "ERROR-TO-STRANGERS"].map {
            "TCPCRYPT-\($0)"
        }
        let all = lines(family, configuration)
        let after = all.filter { line in
            !chains.contains { line.hasPrefix(":\($0) ") || line.hasPrefix("-A \($0) ") }
        }
        let expected = before.map { line in
            let isError = line.hasPrefix("-A TCPCRYPT-IN-ICMP ")
            return [(31850, "MAIN"), (31852, "STRANGERS"), (31851, "SYN")].reduce(line) { line, queue in
                line.replacing(
                    " -j NFQUEUE --queue-num \(queue.0)",
                    with: " -g TCPCRYPT-\(isError ? "ERROR-TO-" : "TO-")\(queue.1)")
            }.replacing(" --queue-bypass", with: "")
        }
        #expect(after == expected)
        #expect(chains.allSatisfy { all.contains(":\($0) - [0:0]") })
        let program = { (subject: WorkerFilter.Subject, worker: Int) in
            JoinFilter.bytecode(WorkerFilter.program(family, subject, worker: worker, of: 3))
        }
        for (chain, queue) in zip(chains, [31850, 31852, 31851, 31850, 31852]) {
            let isError = chain.contains("ERROR")
            let subject: WorkerFilter.Subject = isError ? .quotedPacket : .packet
            let bypass = isError || queue == 31851 ? " --queue-bypass" : ""
            let found = all.filter { $0.hasPrefix("-A \(chain) ") }
            #expect(
                found == [
                    "-A \(chain) -m bpf --bytecode \"\(program(subject, 1))\" -j NFQUEUE --queue-num \(queue + 10)\(bypass)",
                    "-A \(chain) -m bpf --bytecode \"\(program(subject, 2))\" -j NFQUEUE --queue-num \(queue + 20)\(bypass)",
                    "-A \(chain) -j NFQUEUE --queue-num \(queue)\(bypass)",
                ])
        }
        #expect(!lines(family).contains { $0.contains("TCPCRYPT-TO-") || $0.contains("TCPCRYPT-ERROR-") })
    }

    @Test func queuesOfWorkersMustDiffer() throws {
        var configuration = FirewallConfiguration()
        configuration.workers = 16
        try configuration.validate()
        configuration.workers = 17
        #expect(throws: FirewallError.self) { try configuration.validate() }
        configuration.workers = 0
        #expect(throws: FirewallError.self) { try configuration.validate() }
        configuration.workers = 2
        configuration.synQueue = configuration.mainQueue + 10
        #expect(throws: FirewallError.self) { try configuration.validate() }
        configuration.workers = 1
        try configuration.validate()
    }

    @Test(arguments: IPFamily.allCases) func bypassIsForTheSYNQueueAlone(_ family: IPFamily) {
        let errors = lines(family).filter { $0.hasPrefix("-A TCPCRYPT-IN-ICMP") && $0.contains("NFQUEUE") }
        #expect(errors.count == 2 && errors.allSatisfy { $0.contains("--bytecode") && $0.contains("--queue-bypass") })
        for line in lines(family) where line.contains("NFQUEUE") && !errors.contains(line) {
            #expect(line.contains("--queue-bypass") == line.contains("--queue-num \(configuration.synQueue)"))
        }
    }

    @Test(arguments: IPFamily.allCases) func onlyOurBitsAreTouched(_ family: IPFamily) {
        for line in lines(family) where line.contains("MARK") {
            #expect(line.hasSuffix("/0x70000000"))
        }
    }

    @Test(arguments: IPFamily.allCases) func exclusionsNeverApplyToMPTCP(_ family: IPFamily) {
        let rules = lines(family, FirewallConfiguration(excludedPorts: [22], skippedInterfaces: ["wg0"]))
        let exclusions = rules.filter { $0.contains("multiport") || $0.contains("wg0") }
        #expect(exclusions.count == 6)
        #expect(exclusions.allSatisfy { $0.contains("! --tcp-option 30") })
    }

    // MARK: Policies

    private func policy(
        _ prefixes: [String], _ ports: [ClosedRange<UInt16>], _ treatment: FirewallPolicy.Treatment
    ) -> FirewallPolicy {
        FirewallPolicy(prefixes: prefixes.compactMap { IPPrefix($0) }, ports: ports, treatment: treatment)
    }

    /// Policies come behind the joins and before every exclusion, in their order; what is required never has a bypass.
    @Test func policiesComeInTheirOrder() {
        var configuration = FirewallConfiguration(excludedPorts: [22], skippedInterfaces: ["wg0"])
        configuration.policies = [
            policy(["10.0.0.0/8", "fd00::/8"], [22...22, 6000...6100], .required),
            policy(["192.0.2.1"], [], .leftAlone),
            policy([], [443...443], .preferred), policy(["fd01::/16"], [], .required),
        ]
        let rules = { (chain: String, family: IPFamily) in
            lines(family, configuration).map(readable).filter { $0.hasPrefix("-A \(chain) ") }.map { line in
                line.dropFirst("-A \(chain) ".count)
                    .replacing("-p tcp -m tcp --tcp-flags SYN,RST,ACK SYN,ACK", with: "SYNACK")
                    .replacing("-p tcp -m tcp --tcp-flags SYN,RST,ACK SYN", with: "SYN")
                    .replacing("-j NFQUEUE --queue-num 31852", with: "STRANGERS")
                    .replacing("-j NFQUEUE --queue-num 31851 --queue-bypass", with: "BYPASS")
            }
        }
        #expect(
            Array(rules("TCPCRYPT-IN-SYN", .ipv4).dropFirst()) == [
                "SYN -s 10.0.0.0/8 -m multiport --dports 22,6000:6100 STRANGERS",
                "SYN ! --tcp-option 30 -s 192.0.2.1 -j RETURN", "SYN -s 192.0.2.1 BYPASS",
                "SYN -m multiport --dports 443 BYPASS", "SYN ! --tcp-option 30 -m multiport --dports 22 -j RETURN",
                "-i wg0 SYN ! --tcp-option 30 -j RETURN", "BYPASS",
            ])
        for (chain, flags, ports) in [("SYN", "SYN", "--dports"), ("SYNACK", "SYNACK", "--sports")] {
            #expect(
                Array(rules("TCPCRYPT-OUT-\(chain)", .ipv4).dropFirst()) == [
                    "\(flags) -d 10.0.0.0/8 -m multiport \(ports) 22,6000:6100 -g TCPCRYPT-OUT-MAIN",
                    "\(flags) ! --tcp-option 30 -d 192.0.2.1 -g TCPCRYPT-OUT-PLAIN",
                    "\(flags) -d 192.0.2.1 -g TCPCRYPT-OUT-NEW",
                    "\(flags) -m multiport \(ports) 443 -g TCPCRYPT-OUT-NEW",
                    "\(flags) ! --tcp-option 30 -m multiport \(ports) 22 -g TCPCRYPT-OUT-PLAIN",
                    "-o wg0 \(flags) ! --tcp-option 30 -g TCPCRYPT-OUT-PLAIN",
                    "-j MARK --set-xmark 0x20000000/0x70000000", "BYPASS",
                ])
        }
        #expect(rules("TCPCRYPT-OUT-NEW", .ipv4) == ["-j MARK --set-xmark 0x20000000/0x70000000", "BYPASS"])
        let ipv6 = rules("TCPCRYPT-IN-SYN", .ipv6).filter { $0.contains("-s ") }
        #expect(
            ipv6 == [
                "SYN -s fd00::/8 -m multiport --dports 22,6000:6100 STRANGERS", "SYN -s fd01::/16 STRANGERS",
            ])
        #expect(!lines(.ipv4, FirewallConfiguration()).contains { $0.contains("TCPCRYPT-OUT-NEW") })
    }

    @Test func aRangeCountsAsTwoPorts() {
        var configuration = FirewallConfiguration(excludedPorts: [])
        configuration.policies = [policy([], (1...8).map { $0 * 100...$0 * 100 + 9 }, .required)]
        let rules = lines(.ipv4, configuration).filter {
            $0.hasPrefix("-A TCPCRYPT-IN-SYN ") && $0.contains("--dports")
        }
        #expect(rules.count == 2)
        #expect(rules.first?.contains("--dports 100:109,200:209,300:309,400:409,500:509,600:609,700:709 ") == true)
        #expect(rules.last?.contains("--dports 800:809 ") == true)
    }

    @Test func manyPortsNeedSeveralRules() {
        let configuration = FirewallConfiguration(excludedPorts: Array(1...31) + [31, 1])
        let rules = lines(.ipv4, configuration).filter {
            $0.hasPrefix("-A TCPCRYPT-OUT-SYN ") && $0.contains("--dports")
        }
        #expect(rules.count == 3)
        #expect(rules.last?.contains("--dports 31 ") == true)
    }

    @Test func noPortsNeedNoRule() {
        #expect(!lines(.ipv4, FirewallConfiguration(excludedPorts: [])).contains { $0.contains("multiport") })
    }

    @Test(arguments: ["", "a b", "eth0;reboot", "\"", "-j", "sixteen-letters0", "a\nb", "é"])
    func hostileInterfaceNamesAreRefused(_ name: String) {
        #expect(throws: FirewallError.self) { try FirewallConfiguration(skippedInterfaces: [name]).validate() }
    }

    @Test func overlappingBitsAndQueuesAreRefused() throws {
        try configuration.validate()
        var same = configuration
        same.plainBit = same.passedBit
        #expect(throws: FirewallError.self) { try same.validate() }
        var wide = configuration
        wide.plainBit = 0x3
        #expect(throws: FirewallError.self) { try wide.validate() }
        var queues = configuration
        queues.synQueue = queues.mainQueue
        #expect(throws: FirewallError.self) { try queues.validate() }
    }

    @Test func theListingFindsEverythingOfOurs() {
        let listing = RuleListing(
            parsing: """
                *security
                :INPUT ACCEPT [1:60]
                :TCPCRYPT-IN - [0:0]
                :TCPCRYPT-OLD - [0:0]
                :OTHER - [0:0]
                -A INPUT -j OTHER
                -A INPUT -m comment --comment TCPCRYPT-IN -j ACCEPT
                -A INPUT ! -i lo -p tcp -j TCPCRYPT-IN
                -A INPUT ! -i lo -p tcp -j TCPCRYPT-IN
                -A OTHER -g TCPCRYPT-OLD
                -A TCPCRYPT-IN -j TCPCRYPT-OLD
                COMMIT
                """)
        #expect(listing.chains == ["TCPCRYPT-IN", "TCPCRYPT-OLD"])
        let jump = "-D INPUT ! -i lo -p tcp -j TCPCRYPT-IN"
        #expect(listing.jumpDeletions == [jump, jump, "-D OTHER -g TCPCRYPT-OLD"])
        let script = IptablesRules(configuration, family: .ipv4).installation(replacing: listing)
        #expect(script.contains("-X TCPCRYPT-OLD"))
        #expect(!script.contains("-X TCPCRYPT-IN\n"))
    }

    @Test func theGuardAndTheMarksUseOurBits() {
        var configuration = FirewallConfiguration()
        configuration.passedBit = 0x1
        configuration.plainBit = 0x2
        configuration.encryptedBit = 0x4
        let nft = NftRules(configuration)
        #expect(nft.guardScript.contains("ct mark & 0x4 == 0x4 meta mark & 0x3 == 0x0 counter drop"))
        #expect(nft.marksScript.contains("meta mark & 0x7 == 0x2 ct mark set ct mark & 0xfffffff8 | 0x2"))
        #expect(nft.marksScript.contains("meta mark set meta mark & 0xfffffff8"))
    }
}
