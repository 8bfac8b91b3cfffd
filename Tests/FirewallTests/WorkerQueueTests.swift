import Testing

@testable import Firewall

/// Which queue each packet of a connection comes to, as the counters of the rules on host A tell. Nobody listens.
@Suite(.serialized, .enabled(if: KernelWorld.isEnabled, "needs root and TCPCRYPT_ROOT_TESTS=1"))
struct WorkerQueueTests {
    private func world(_ variant: IptablesVariant) throws -> KernelWorld {
        let world = try KernelWorld()
        var configuration = FirewallConfiguration()
        configuration.workers = 3
        try world.firewall(variant, configuration).install()
        return world
    }

    /// `reached(family)`: the uses and the workers of the queues that packets came to since the last call.
    private func prelude(_ variant: IptablesVariant) -> String {
        """
        import re
        def program(family): return 'ip6tables-\(variant.rawValue)' if family == 6 else 'iptables-\(variant.rawValue)'

        def reached(family, chains='TCPCRYPT-'):
            found = set()
            for line in inA(program(family) + '-save -c -t security').splitlines():
                match = re.match(r'\\[([0-9]+):.*--queue-num ([0-9]+)', line)
                if match and match[1] != '0' and chains in line:
                    queue = int(match[2]) - 31850
                    found.add((['main', 'syn', 'strangers'][queue % 10], queue // 10))
            inA(program(family) + ' -t security -Z')
            return found

        def worker(a, b): return ((a + b) * 0x9E3779B1 % 2**32 >> 16) % 3

        def ports(pair): return pair[0].getsockname()[1], pair[1].getsockname()[1]

        seen = set()
        def expect(what, family, uses, a, b, chains='TCPCRYPT-'):
            seen.add(worker(a, b))
            found = reached(family, chains)
            wanted = {(use, worker(a, b)) for use in uses.split()}
            if found != wanted: print(what, family, found, wanted)

        """
    }

    @Test(arguments: KernelWorld.variants) func bothDirectionsOfAConnection(_ variant: IptablesVariant) throws {
        let result = try world(variant).python(
            prelude(variant)
                + """
                for family in 4, 6:
                    for round in range(4):
                        for client, server in (A, B), (B, A):
                            reached(family)
                            c, s = connect(client, server, 5100 + round, family)
                            a, b = ports((c, s))
                            expect('handshake', family, 'syn', a, b)
                            inA('conntrack -U -f ipv%d -p tcp --dport %d --mark 0x50000000/0x70000000' % (family, 5100 + round))
                            mine, other = (c, s) if client == A else (s, c)
                            for x in c, s: x.settimeout(0.1)
                            says(mine, other)
                            expect('out', family, 'main', a, b)
                            other.send(b'hello')
                            time.sleep(0.1)
                            expect('in and out', family, 'main', a, b)
                            for x in c, s:
                                x.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack('ii', 1, 0))
                                x.close()
                            inA('conntrack -F')
                            time.sleep(0.05)
                print(len(seen) > 1)
                """)
        #expect(result == ["True"])
    }

    @Test(arguments: KernelWorld.variants) func joinsAndStrays(_ variant: IptablesVariant) throws {
        let result = try world(variant).python(
            prelude(variant)
                + """
                for family in 4, 6:
                    for port in range(40000, 40012, 2):
                        for source, target, use in (A, B, 'main'), (B, A, 'strangers'):
                            raw = sock(source, family, socket.SOCK_RAW, 6)
                            for flags, options in (2, JOIN), (0x12, bytes([30, 16, 0x10, 1]) + bytes(12)), (16, b''), (4, b''):
                                if flags == 4 and use == 'main': continue
                                inA('conntrack -F')
                                reached(family)
                                raw.sendto(segment(source, target, port, 5200, flags, options, family=family), (ADDRESS[target, family], 0))
                                time.sleep(0.03)
                                joins = flags == 0x12 and source == B
                                expect((source, flags), family, 'main' if joins else use, port, 5200)
                print(len(seen) > 1)
                """)
        #expect(result == ["True"])
    }

    @Test(arguments: KernelWorld.variants) func errors(_ variant: IptablesVariant) throws {
        let result = try world(variant).python(
            prelude(variant)
                + """
                def error(family, sport, dport, options=b''):
                    quoted = segment(A, B, sport, dport, 16, seq=1001, family=family)
                    a, b = (socket.inet_pton(socket.AF_INET if family == 4 else socket.AF_INET6, ADDRESS[h, family]) for h in (A, B))
                    if family == 4:
                        head = struct.pack('!BBHHHBBH', 0x45 + len(options) // 4, 0, 20 + len(options) + len(quoted), 0, 0x4000, 64, 6, 0) + a + b + options
                        head = head[:10] + struct.pack('!H', total(head)) + head[12:]
                        body = struct.pack('!BBHHH', 3, 4, 0, 0, 1400) + head + quoted
                        body = body[:2] + struct.pack('!H', total(body)) + body[4:]
                        return sock(B, 4, socket.SOCK_RAW, 1).sendto(body, (ADDRESS[A, 4], 0))
                    head = struct.pack('!IHBB', 0x60000000, len(quoted), 6, 64) + a + b
                    body = struct.pack('!BBHI', 2, 0, 0, 1400) + head + quoted
                    sock(B, 6, socket.SOCK_RAW, 58).sendto(body, (ADDRESS[A, 6], 0))

                for family in 4, 6:
                    for round in range(6):
                        c, s = connect(A, B, 5300 + round, family)
                        a, b = ports((c, s))
                        for mark, use in ('0x50000000', 'main'), ('0x0', 'strangers'):
                            inA('conntrack -U -f ipv%d -p tcp --dport %d --mark %s/0x70000000' % (family, 5300 + round, mark))
                            reached(family)
                            error(family, a, b)
                            time.sleep(0.05)
                            expect(use, family, use, a, b, 'TCPCRYPT-ERROR')
                        inA('conntrack -F')
                print(len(seen) > 1)
                """)
        #expect(result == ["True"])
    }
}
