import PacketWire
import Testing

@testable import Firewall

/// What passes while the rules are there and no daemon listens. Host A has the rules.
@Suite(.serialized, .enabled(if: KernelWorld.isEnabled, "needs root and TCPCRYPT_ROOT_TESTS=1"))
struct NoDaemonTests {
    private func world(_ variant: IptablesVariant) throws -> KernelWorld {
        let world = try KernelWorld()
        try world.firewall(variant).install()
        return world
    }

    @Test(arguments: KernelWorld.variants) func newConnectionsPassInClear(_ variant: IptablesVariant) throws {
        let result = try world(variant).python(
            """
            for family in 4, 6:
                for protocol in 0, 262:
                    print(talks(connect(A, B, 5000, family, protocol)), talks(connect(B, A, 5001, family, protocol)))
                print(talks(connect(A, B, 443, family)), talks(connect(B, A, 443, family)))
                print(answered(B, A, 6000, family=family))
            """)
        let one = ["True True", "True True", "True True", "True"]
        #expect(result == one + one)
    }

    @Test(arguments: KernelWorld.variants) func aRefusedConnectionIsRefusedAtOnce(_ variant: IptablesVariant) throws {
        let result = try world(variant).python(
            """
            for client, server in (A, B), (B, A):
                try: sock(client).connect((ADDRESS[server, 4], 6001))
                except ConnectionRefusedError: print('refused')
                except OSError as e: print(e)
            """)
        #expect(result == ["refused", "refused"])
    }

    @Test(arguments: KernelWorld.variants) func joinsDoNotPass(_ variant: IptablesVariant) throws {
        let world = try world(variant)
        let script = """
            mss = bytes([2, 4, 5, 0xB4])
            for family in 4, 6:
                keep = listen(A, 5002, family), listen(B, 5002, family)
                port443 = listen(A, 443, family), listen(B, 443, family)
                for source, target in (A, B), (B, A):
                    for options in mss, mss + JOIN, JOIN + mss, b'\\1' * 28 + JOIN:
                        print(int(answered(source, target, 5002, options, family)), end='')
                    print(int(answered(source, target, 443, mss + JOIN, family)))
                for s in keep + port443: s.close()
            """
        #expect(try world.python(script) == ["10000", "10000", "10000", "10000"])
        // The test sees joins where there are no rules: in the kernel's reset, or in our SYN's way out.
        world.firewall(variant).remove()
        #expect(try world.python(script) == ["11111", "11111", "11111", "11111"])
    }

    /// What requires encryption does not pass, neither way and in neither family, an excluded port included; what policies do not say so of does.
    @Test(arguments: KernelWorld.variants) func whatIsRequiredDoesNotPass(_ variant: IptablesVariant) throws {
        let world = try KernelWorld()
        var configuration = FirewallConfiguration()
        let prefixes = ["10.77.0.0/24", "fd77::/64"].compactMap { IPPrefix($0) }
        let others = ["10.78.0.0/16", "fd78::/16"].compactMap { IPPrefix($0) }
        configuration.policies = [
            FirewallPolicy(prefixes: [], ports: [5009...5009], treatment: .preferred),
            FirewallPolicy(prefixes: [], ports: [5008...5008], treatment: .leftAlone),
            FirewallPolicy(prefixes: prefixes, ports: [443...443, 5000...5010], treatment: .required),
            FirewallPolicy(prefixes: others, ports: [], treatment: .required),
        ]
        let script = """
            for family in 4, 6:
                for protocol in 0, 262:
                    print([talks(connect(*hosts, port, family, protocol)) for hosts in ((A, B), (B, A))
                        for port in (443, 5010, 5008, 5009, 5011)])
            """
        try world.firewall(variant, configuration).install()
        let one = "[False, False, True, True, True"
        #expect(try world.python(script) == Array(repeating: "\(one), \(one.dropFirst())]", count: 4))
        world.firewall(variant, configuration).remove()
        #expect(try world.remains(variant).isEmpty)
    }

    /// Prints whether data pass each way, after what the test does to the connection.
    private func established(_ steps: String) -> String {
        """
        def check(c, s):
            print(says(c, s), says(s, c))
        for family in 4, 6:
            for client, server in (A, B), (B, A):
                pair = connect(client, server, 5003, family)
                assert talks(pair)
                c, s = pair
        \(steps.split(separator: "\n").map { "        " + $0 }.joined(separator: "\n"))
        """
    }

    private let encrypted = "inA('conntrack -U -f ipv%d -p tcp --dport 5003 --mark 0x50000000/0x70000000' % family)"

    @Test(arguments: KernelWorld.variants) func plainIsInTheConnection(_ variant: IptablesVariant) throws {
        let result = try world(variant).python(
            established(
                "print({l.split('mark=')[1].split()[0] for l in inA('conntrack -L -p tcp -f ipv%d' % family).splitlines()})"
            ))
        #expect(result == Array(repeating: "{'\(0x2000_0000)'}", count: 4))
    }

    @Test(arguments: KernelWorld.variants) func encryptedConnectionsStop(_ variant: IptablesVariant) throws {
        let world = try world(variant)
        let all = Array(repeating: "False False", count: 4)
        let script = established("\(encrypted)\ncheck(c, s)")
        #expect(try world.python(script) == all)
    }

    @Test(arguments: KernelWorld.variants) func theQueueAloneStopsThem(_ variant: IptablesVariant) throws {
        let world = try world(variant)
        try world.shell("nft delete table inet tcpcrypt_guard")
        #expect(try world.python(established("\(encrypted)\ncheck(c, s)")) == Array(repeating: "False False", count: 4))
    }

    /// The guard looks at what leaves: A's plaintext stays, what B sends arrives (its acknowledgement does not leave).
    @Test(arguments: KernelWorld.variants) func theGuardAloneStopsWhatLeaves(_ variant: IptablesVariant) throws {
        let world = try world(variant)
        let listing = "iptables-\(variant.rawValue) -t security -F; ip6tables-\(variant.rawValue) -t security -F"
        try world.shell(listing)
        let result = try world.python(established("\(encrypted)\ncheck(c, s)"))
        #expect(result == ["False True", "True False", "False True", "True False"])
        try world.shell("nft delete table inet tcpcrypt_guard")
        #expect(try world.python(established("\(encrypted)\ncheck(c, s)")) == Array(repeating: "True True", count: 4))
    }

    /// What conntrack forgot is not plain, also when a stranger sends a SYN for it.
    @Test(arguments: KernelWorld.variants) func forgottenConnectionsStop(_ variant: IptablesVariant) throws {
        let result = try world(variant).python(
            established(
                """
                inA('conntrack -F')
                mine, other = (c, s) if client == A else (s, c)
                answered(B, A, mine.getsockname()[1], bytes([2, 4, 5, 0xB4]), family, sport=other.getsockname()[1])
                check(c, s)
                """))
        #expect(result == Array(repeating: "False False", count: 4))
    }

    /// A SYN from outside changes nothing about an encrypted connection.
    @Test(arguments: KernelWorld.variants) func aForgedSYNOpensNothing(_ variant: IptablesVariant) throws {
        let result = try world(variant).python(
            established(
                """
                \(encrypted)
                mine, other = (c, s) if client == A else (s, c)
                answered(B, A, mine.getsockname()[1], bytes([2, 4, 5, 0xB4]), family, sport=other.getsockname()[1])
                check(c, s)
                """))
        #expect(result == Array(repeating: "False False", count: 4))
    }

    /// Raw sockets of the injector's group get through, also past the guard, and change nothing; others do not, nor what is meant for the
    /// local stack.
    @Test(arguments: KernelWorld.variants) func injectedPacketsPass(_ variant: IptablesVariant) throws {
        let world = try world(variant)
        let result = try world.python(
            established(
                """
                \(encrypted)
                mine, other = (c, s) if client == A else (s, c)
                ports = mine.getsockname()[1], other.getsockname()[1]
                for group in 0, 31857, 31856:
                    watcher = sock(B, family, socket.SOCK_RAW, 6)
                    os.setegid(group)
                    raw = sock(A, family, socket.SOCK_RAW, 6)
                    os.setegid(0)
                    try: raw.sendto(segment(A, B, *ports, flags=16, seq=77, family=family), (ADDRESS[B, family], 0))
                    except PermissionError: pass
                    try: print('came', struct.pack('!I', 77) in watcher.recv(2000))
                    except OSError: print('nothing')
                print({l.split('mark=')[1].split()[0] for l in inA('conntrack -L -p tcp -f ipv%d' % family).splitlines()} - {str(0x20000000)})
                inA('conntrack -F')
                """))
        let one = ["nothing", "nothing", "came True", "{'\(0x5000_0000)'}"]
        #expect(result == one + one + one + one)
    }

    /// The host uses our bits for purposes of its own: before our chains. It keeps its other bits behind them.
    @Test(arguments: KernelWorld.variants) func otherUsersOfOurBits(_ variant: IptablesVariant) throws {
        let world = try world(variant)
        let iptables = "iptables-\(variant.rawValue) -t mangle -A"
        try world.shell(
            "\(iptables) OUTPUT -j MARK --set-mark 0x70000001; \(iptables) PREROUTING -j MARK --set-mark 0x50000002")
        try world.shell(
            "\(iptables) POSTROUTING -p tcp -m mark --mark 0x1; \(iptables) POSTROUTING -p tcp -m mark ! --mark 0x1")
        let result = try world.python(
            """
            print(talks(connect(A, B, 5000)), talks(connect(B, A, 5001)), talks(connect(A, B, 443)), talks(connect(B, A, 443)))
            keep = listen(A, 5002), listen(B, 5002)
            print(answered(A, B, 5002, JOIN), answered(B, A, 5002, JOIN))
            lines = [l for l in inA('iptables-\(variant.rawValue)-save -c -t mangle').splitlines() if 'POSTROUTING -p tcp' in l]
            print([l.startswith('[0:') for l in lines])
            """)
        #expect(result == ["True True True True", "False False", "[False, True]"])
    }
}
