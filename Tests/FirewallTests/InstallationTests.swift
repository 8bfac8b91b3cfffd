import Testing

@testable import Firewall

/// On the real kernel, as root: `TCPCRYPT_ROOT_TESTS=1`.
@Suite(.serialized, .enabled(if: KernelWorld.isEnabled, "needs root and TCPCRYPT_ROOT_TESTS=1"))
struct InstallationTests {
    private func jumps(_ world: KernelWorld, _ variant: IptablesVariant) throws -> [Int] {
        try ["iptables", "ip6tables"].map { command in
            let listing = try world.shell("\(command)-\(variant.rawValue)-save")
            return RuleListing(parsing: listing).jumpDeletions.count
        }
    }

    @Test(arguments: KernelWorld.variants) func installsTwiceAndLeavesNothing(_ variant: IptablesVariant) throws {
        let world = try KernelWorld()
        try world.shell("iptables-\(variant.rawValue) -t security -A INPUT -p icmp -j ACCEPT")
        let firewall = world.firewall(variant)
        #expect(try firewall.install().notes.isEmpty)
        #expect(try world.liberal() == "1")
        let first = try world.shell("iptables-\(variant.rawValue)-save -t security | grep -v ^#")
        #expect(try firewall.install().problems.isEmpty)
        #expect(try world.shell("iptables-\(variant.rawValue)-save -t security | grep -v ^#") == first)
        #expect(try jumps(world, variant) == [3, 3])
        #expect(firewall.remove().problems.isEmpty)
        #expect(try world.remains(variant) == "")
        #expect(try world.liberal() == "0")
        // The host's own rules stay.
        #expect(try world.shell("iptables-\(variant.rawValue)-save -t security").contains("-p icmp"))
        #expect(firewall.remove().problems.isEmpty)
    }

    @Test(arguments: KernelWorld.variants) func aCrashWithOtherSettings(_ variant: IptablesVariant) throws {
        let world = try KernelWorld()
        var old = FirewallConfiguration(excludedPorts: [1, 2, 3], skippedInterfaces: ["lo", "dummy0"])
        old.mainQueue = 7
        old.workers = 3
        try world.firewall(variant, old).install()
        for command in ["iptables", "ip6tables"] {
            try world.shell("\(command)-\(variant.rawValue) -t security -I OUTPUT -p tcp -j TCPCRYPT-OUT")
            try world.shell("\(command)-\(variant.rawValue) -t security -N TCPCRYPT-OLD")
            try world.shell("\(command)-\(variant.rawValue) -t security -A INPUT -j TCPCRYPT-OLD")
        }
        let firewall = world.firewall(variant)
        #expect(try firewall.install().notes.count == 2)
        #expect(try jumps(world, variant) == [3, 3])
        #expect(try !world.remains(variant).contains("OLD"))
        #expect(try !world.remains(variant).contains("TCPCRYPT-TO-"))
        #expect(firewall.remove().problems.isEmpty)
        #expect(try world.remains(variant) == "")
        #expect(try world.liberal() == "0")
    }

    @Test(arguments: KernelWorld.variants) func leftoversGoWithoutAnInstall(_ variant: IptablesVariant) throws {
        let world = try KernelWorld()
        try world.firewall(variant, FirewallConfiguration(excludedPorts: [9])).install()
        try world.shell("iptables-\(variant.rawValue) -t security -I OUTPUT -p tcp -j TCPCRYPT-OUT")
        #expect(world.firewall(variant).remove().problems.isEmpty)
        #expect(try world.remains(variant) == "")
    }

    @Test func aHostThatIsLiberalStaysLiberal() throws {
        let world = try KernelWorld()
        try world.shell("nft add table inet host; nft add chain inet host c '{ type filter hook input priority 0; }'")
        try world.shell("nft add rule inet host c ct state new accept; echo 1 > \(ConntrackSetting.path)")
        let firewall = world.firewall(.system)
        try firewall.install()
        #expect(firewall.remove().problems.isEmpty)
        #expect(try world.liberal() == "1")
    }

    @Test func errorsSayWhatFailed() throws {
        let world = try KernelWorld()
        let runner = CommandRunner(prefix: ["ip", "netns", "exec", world.a])
        #expect(throws: FirewallError.missingProgram("no-such-program", package: "p")) {
            try runner.run(["no-such-program"], package: "p")
        }
        do throws(FirewallError) {
            try runner.run(
                ["iptables-restore", "--noflush"], package: "iptables", input: "*security\nnonsense\nCOMMIT\n")
            Issue.record("nonsense was accepted")
        } catch {
            guard case .failed(_, let status, let message) = error else { throw error }
            #expect(status != 0)
            #expect(!message.isEmpty)
        }
    }
}
