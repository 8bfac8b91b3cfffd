import PacketWire
import Tables
import Tcpcrypt
import Testing

@testable import FlowEngine

/// Which policy a connection has, and what policies do besides requiring encryption.
@Suite struct PolicyTests {
    private func rule(
        _ prefixes: [String] = [], _ ports: [ClosedRange<UInt16>] = [], _ encryption: Policy.Encryption = .prefer
    ) -> PolicyRule {
        var rule = PolicyRule.of(encryption)
        rule.prefixes = prefixes.compactMap { IPPrefix($0) }
        rule.ports = ports
        return rule
    }

    private func encryption(
        _ configuration: EngineConfiguration, _ peer: String, _ port: UInt16
    ) throws -> Policy.Encryption {
        configuration.policy(peer: try #require(IPAddress(peer)), port: port).encryption
    }

    @Test func theFirstThatMatchesCounts() throws {
        var configuration = EngineConfiguration()
        configuration.excludedPorts = [22, 443]
        configuration.policies = [
            rule(["10.1.0.0/16", "fd00::/8"], [80...80, 6000...6100], .require), rule(["10.0.0.0/8"], [], .off),
            rule([], [443...443]), rule(["192.0.2.1"], [], .require),
        ]
        for (peer, port, expected): (String, UInt16, Policy.Encryption) in [
            ("10.1.2.3", 80, .require), ("10.1.2.3", 6000, .require), ("10.1.2.3", 6100, .require),
            ("10.1.2.3", 6101, .off), ("10.2.2.3", 80, .off), ("10.1.2.3", 443, .off), ("11.1.2.3", 443, .prefer),
            ("11.1.2.3", 22, .off), ("11.1.2.3", 80, .prefer), ("fd12::1", 80, .require), ("fe12::1", 80, .prefer),
            ("192.0.2.1", 22, .require), ("192.0.2.0", 22, .off),
        ] {
            #expect(try encryption(configuration, peer, port) == expected, "\(peer) \(port)")
        }
    }

    private func connected(
        _ configureClient: @escaping (inout Policy) -> Void, _ configureServer: @escaping (inout Policy) -> Void
    ) -> Pair {
        let host = { (seed: UInt64, configure: @escaping (inout Policy) -> Void) in
            TestHost(seed: seed) { configuration in
                configuration.policies = [PolicyRule()]
                configure(&configuration.policies[0].policy)
            }
        }
        let pair = Pair(client: host(1, configureClient), server: host(2, configureServer))
        pair.connect()
        return pair
    }

    @Test func whereBothRequireItThereIsEncryption() {
        let pair = connected({ $0.encryption = .require }, { $0.encryption = .require })
        #expect(pair.clientReport?.state == .encrypted && pair.serverReport?.state == .encrypted)
        let again = Pair(port: 40_001, client: pair.client, server: pair.server)
        again.connect()
        #expect(pair.client.engine.counters.resumptions == 1 && pair.client.engine.counters.connectionsRefused == 0)
    }

    @Test func whatIsOffIsLeftAloneByEitherEnd() {
        for end in 0..<2 {
            let pair = connected({ if end == 0 { $0.encryption = .off } }, { if end == 1 { $0.encryption = .off } })
            #expect(pair.clientReport?.reason == (end == 0 ? .policy : .noENO))
            #expect(pair.serverReport?.reason == (end == 1 ? .policy : .noENO))
            #expect(end == 1 || pair.wire.allSatisfy { !$0.hasENO })
        }
    }

    // MARK: Application-awareness (RFC 8547 section 4.2)

    /// Both bits, and whether there is encryption, which does not depend on the other's mode unless it is mandatory.
    @Test(arguments: ApplicationAwareness.allCases, ApplicationAwareness.allCases)
    func awareness(_ client: ApplicationAwareness, _ server: ApplicationAwareness) {
        let pair = connected({ $0.applicationAware = client }, { $0.applicationAware = server })
        let isEncrypted = (client != .mandatory || server != .off) && (server != .mandatory || client != .off)
        #expect(pair.clientReport?.state == (isEncrypted ? .encrypted : .plain))
        #expect(pair.serverReport?.state == (isEncrypted ? .encrypted : .plain))
        let globals = pair.wire.filter { $0.packet.flags.contains(.syn) && $0.hasENO }.compactMap { seen in
            seen.options.range(of: ENO.optionKind).flatMap {
                try? SYNFormENO(parsing: seen.options.span.extracting($0)).isApplicationAware
            }
        }
        #expect(globals.first == (client != .off))
        guard isEncrypted else {
            #expect(client != .mandatory || server != .off || pair.clientReport?.reason == .notApplicationAware)
            return
        }
        #expect(globals == [client != .off, server != .off])
        #expect(pair.clientReport?.peerApplicationAware == (server != .off))
        #expect(pair.serverReport?.peerApplicationAware == (client != .off))
        // The same where the session is resumed, with the one byte less that there is for the nonce.
        let again = Pair(port: 40_001, client: pair.client, server: pair.server)
        again.connect()
        #expect(pair.client.engine.counters.resumptions == 1)
        let reports = pair.client.engine.connections().flatMap(\.subflows)
        #expect(reports.count == 2 && reports.allSatisfy { $0.peerApplicationAware == (server != .off) })
    }

    // MARK: ENO that nothing comes back for

    private func synsSeen(_ host: TestHost, repeating count: Int) -> [Seen] {
        for _ in 0..<count {
            host.leave(
                Endpoint(address: IPAddress(ipv4: 0x0a00_0001), port: 40_000),
                Endpoint(address: IPAddress(ipv4: 0x0a00_0002), port: 80), 1000, 0, .syn, mss)
        }
        return host.takeSeen()
    }

    @Test func whatIsRequiredIsNeverWithdrawn() {
        let host = TestHost(seed: 1) { $0.policies = [.of(.require)] }
        let syns = synsSeen(host, repeating: 8)
        #expect(syns.count == 8 && syns.allSatisfy(\.hasENO))
        #expect(
            Set(syns.map { seen in seen.options.range(of: 69).map { $0.map { seen.options.span[$0] } } }).count == 1)
        #expect(
            synsSeen(TestHost(seed: 1), repeating: 8).map(\.hasENO) == [true, true] + [Bool](repeating: false, count: 6)
        )
    }

    /// Others to this host were answered only without the option: after as long as they waited this one is refused.
    @Test func whereItIsKnownToBeInVainThereIsAnError() throws {
        let host = TestHost(seed: 1) { $0.policies = [.of(.require)] }
        let path = PathMTUs.Path(
            FlowTuple(
                local: Endpoint(address: IPAddress(ipv4: 0x0a00_0001), port: 1),
                remote: Endpoint(address: IPAddress(ipv4: 0x0a00_0002), port: 1)))
        host.engine.host.locked {
            for _ in 0..<2 { host.engine.host.unansweredOffers.note(path, host.now) }
        }
        let syns = synsSeen(host, repeating: 2)
        #expect(syns.map(\.hasENO) == [true, true] && host.takeKernel().isEmpty)
        #expect(synsSeen(host, repeating: 1).isEmpty)
        #expect(host.takeKernel().map(\.packet.flags) == [[.rst, .ack]])
        #expect(host.engine.counters.connectionsRefused == 1)
    }

    // MARK: What the engine has forgotten, or had no room for

    @Test func aFullTableRefusesWhatRequiresEncryption() {
        for encryption in [Policy.Encryption.require, .prefer] {
            let host = TestHost(seed: 1) {
                $0.policies = [.of(encryption)]
                $0.maximumFlows = 0
            }
            let pair = Pair(client: host)
            pair.clientSends(1000, 0, .syn, mss, [1, 2])
            host.arrive(pair.b, pair.a, 9000, 0, .syn, mss)
            let isRequired = encryption == .require
            let toKernel = host.takeKernel()
            #expect(toKernel.map(\.packet.flags) == [isRequired ? [.rst, .ack] : .syn])
            #expect(!isRequired || toKernel.first?.acknowledgment == 1001)
            #expect(host.takeSeen().map(\.packet.flags) == [isRequired ? [.rst, .ack] : .syn])
            #expect(host.engine.counters.connectionsRefused == (isRequired ? 2 : 0))
            #expect(host.engine.counters.fallbacks == (isRequired ? 0 : 2))
        }
    }

    /// A handshake of which an earlier daemon saw the SYN.
    @Test func aSYNACKOutOfNowhere() {
        for encryption in [Policy.Encryption.require, .prefer] {
            let host = TestHost(seed: 1) { $0.policies = [.of(encryption)] }
            let pair = Pair(client: host, server: host)
            host.arrive(pair.b, pair.a, 5000, 1001, [.syn, .ack], mss)
            let isRequired = encryption == .require
            #expect(host.takeKernel().map(\.packet.flags) == [isRequired ? [.rst, .ack] : [.syn, .ack]])
            #expect(host.takeSeen().map(\.packet.flags) == (isRequired ? [[.rst, .ack]] : []))
            // Its peer sends the SYN again, and that one is answered anew.
            pair.serverSends(5000, 1001, [.syn, .ack], mss)
            #expect(host.takeSeen().map(\.packet.flags) == (isRequired ? [] : [[.syn, .ack]]))
            #expect(host.takeKernel().isEmpty)
        }
    }

    /// Connections that are older than the daemon are left alone.
    @Test func whatIsEstablishedIsLeftAlone() {
        let host = TestHost(seed: 1) { $0.policies = [.of(.require)] }
        let pair = Pair(client: host)
        pair.clientSends(1001, 5001, [.ack, .psh], [], [1, 2, 3])
        host.arrive(pair.b, pair.a, 5001, 1004, [.ack, .psh], [], [4])
        #expect(host.takeSeen().map(\.payload) == [[1, 2, 3]] && host.takeKernel().map(\.payload) == [[4]])
    }

    /// A handshake of which an earlier daemon saw the SYN, and this one sees the third ACK.
    @Test func aHalfOpenConnectionFromBeforeIsNeverPlain() {
        for encryption in [Policy.Encryption.require, .prefer] {
            let host = TestHost(seed: 1) { $0.policies = [.of(encryption)] }
            let pair = Pair(server: host)
            host.engine.distrust(halfOpen: [FlowTuple(local: pair.b, remote: pair.a)])
            host.arrive(pair.a, pair.b, 1001, 5001, .ack)
            let isRequired = encryption == .require
            #expect(host.takeKernel().map(\.packet.flags) == (isRequired ? [] : [.ack]))
            #expect(host.takeSeen().map(\.packet.flags) == (isRequired ? [[.rst, .ack]] : []))
        }
    }

    /// A half-open connection that was forgotten: the third ACK may come without ENO later than anything is remembered.
    @Test func aForgottenHalfOpenConnectionIsNeverPlain() {
        let pair = Pair(server: TestHost(seed: 2) { $0.policies = [.of(.require)] })
        let server = pair.server
        server.arrive(pair.a, pair.b, 1000, 0, .syn, mss + [69, 3, 0x23])
        pair.serverSends(5000, 1001, [.syn, .ack], mss)
        server.advance(milliseconds: FlowTime.idleBeforeReconcile + 1)
        server.engine.reconcile(sockets: [], now: server.now, into: &server.output)
        server.drain()
        #expect(server.engine.flows.isEmpty)
        _ = (server.takeKernel(), server.takeWire())
        server.arrive(pair.a, pair.b, 1001, 5001, .ack)
        #expect(server.takeKernel().isEmpty)
        #expect(server.takeSeen().map(\.packet.flags) == [[.rst, .ack]])
        // A new beginning is one.
        server.arrive(pair.a, pair.b, 3000, 0, .syn, mss + [69, 3, 0x23])
        pair.serverSends(7000, 3001, [.syn, .ack], mss)
        #expect(server.takeSeen().last?.hasENO == true)
    }

    /// Another SYN while the third ACK is awaited goes to the kernel without its option, and the kernel may begin anew with it.
    @Test func aKernelThatBeginsAnewIsNotLetOut() {
        let pair = Pair(server: TestHost(seed: 2) { $0.policies = [.of(.require)] })
        let server = pair.server
        server.arrive(pair.a, pair.b, 1000, 0, .syn, mss + [69, 3, 0x23])
        pair.serverSends(5000, 1001, [.syn, .ack], mss)
        _ = (server.takeKernel(), server.takeWire())
        server.arrive(pair.a, pair.b, 3000, 0, .syn, mss + [69, 3, 0x23])
        #expect(server.takeKernel().map(\.sequence) == [3000])
        pair.serverSends(7000, 3001, [.syn, .ack], mss)
        #expect(server.takeSeen().isEmpty)
        // It comes again, and is judged.
        server.arrive(pair.a, pair.b, 3000, 0, .syn, mss + [69, 3, 0x23])
        pair.serverSends(7000, 3001, [.syn, .ack], mss)
        #expect(server.takeSeen().last?.hasENO == true)
    }

    /// Joins prove themselves or not, whatever the policy of their ports.
    @Test(arguments: Policy.Encryption.allCases) func joinsAreNeverAffected(_ encryption: Policy.Encryption) {
        let host = TestHost(seed: 1) { $0.policies = [.of(encryption)] }
        let pair = Pair(server: host)
        host.arrive(pair.a, pair.b, 1000, 0, .syn, mss + joinSYN([1, 2, 3, 4]))
        #expect(host.takeKernel().isEmpty)
        let tuple = FlowTuple(local: pair.b, remote: pair.a)
        #expect(host.actions.contains(.log(.joinRefused(tuple, .unknownToken, token: 0x0102_0304))))
        #expect(host.engine.counters.joinsRefused == 1 && host.engine.counters.connectionsRefused == 0)
    }
}

/// Data on SYNs (RFC 8547 section 4.7).
@Suite struct SYNDataTests {
    private static let cookie: [UInt8] = [34, 10, 1, 2, 3, 4, 5, 6, 7, 8]
    private static let request: [UInt8] = [34, 2]
    private static let offer: [UInt8] = [69, 3, 0x23]

    private func host(_ encryption: Policy.Encryption) -> TestHost {
        TestHost(seed: 1) { $0.policies = [.of(encryption)] }
    }

    /// - Returns: the SYN as it left.
    private func sent(_ options: [UInt8], _ data: [UInt8], _ encryption: Policy.Encryption) throws -> Seen {
        let pair = Pair(client: host(encryption))
        pair.clientSends(1000, 0, .syn, mss + options, data)
        return try #require(pair.client.takeSeen().last)
    }

    /// No SYN with ENO leaves with data or a cookie: a connection that may be plain goes without ENO, one that must not without the data.
    @Test func aSYNOfOurs() throws {
        for (options, data): ([UInt8], [UInt8]) in [(Self.cookie, []), (Self.cookie, [1, 2]), ([], [1, 2])] {
            let plain = try sent(options, data, .prefer)
            #expect(!plain.hasENO && plain.payload == data)
            #expect(plain.options.contains(34) == !options.isEmpty)
            let encrypted = try sent(options, data, .require)
            #expect(encrypted.hasENO && encrypted.payload.isEmpty && !encrypted.options.contains(34))
        }
        for encryption in [Policy.Encryption.prefer, .require] {
            let asked = try sent(Self.request, [], encryption)
            #expect(asked.hasENO && asked.options.contains(34))
        }
    }

    /// Once the kernel sends it behind the handshake, it is encrypted.
    @Test func theDataComeLater() {
        let pair = Pair(client: host(.require))
        pair.clientSends(1000, 0, .syn, mss + Self.cookie, [1, 2, 3])
        pair.settle()
        pair.serverSends(5000, 1001, [.syn, .ack], mss)
        pair.settle()
        pair.clientSends(1001, 5001, [.ack, .psh], [], [1, 2, 3])
        pair.settle()
        #expect(pair.clientReport?.state == .encrypted && pair.serverReport?.state == .encrypted)
        #expect(pair.server.takeKernel().flatMap(\.payload) == [1, 2, 3])
        #expect(pair.wire.allSatisfy { $0.payload != [1, 2, 3] })
    }

    /// Data that came with ENO is discarded, whatever becomes of the connection, also when the SYN comes again; without ENO it is none of
    /// our business.
    @Test(arguments: [[69, 3, 0x23], [69, 3, 0x24], [69, 2], [69, 4, 0x9f, 0x23], []])
    func aSYNFromTheWire(_ eno: [UInt8]) {
        for (options, data): ([UInt8], [UInt8]) in [(Self.cookie, []), (Self.cookie, [1, 2]), ([], [1, 2])] {
            for encryption in [Policy.Encryption.prefer, .off] {
                let pair = Pair(server: host(encryption))
                for _ in 0..<2 {
                    pair.server.arrive(pair.a, pair.b, 1000, 0, .syn, mss + options + eno, data)
                    let seen = pair.server.takeKernel()
                    #expect(seen.count == 1 && seen.first?.sequence == 1000)
                    #expect(seen.first?.payload == (eno.isEmpty ? data : []))
                    #expect(seen.first?.options.contains(34) == (eno.isEmpty && !options.isEmpty))
                }
            }
        }
    }

    @Test func aFullTableDiscardsThemToo() {
        let pair = Pair(server: TestHost(seed: 1) { $0.maximumFlows = 0 })
        pair.server.arrive(pair.a, pair.b, 1000, 0, .syn, mss + Self.cookie + Self.offer, [1, 2])
        #expect(pair.server.takeKernel().map(\.payload) == [[]])
    }

    /// Bytes on a SYN-ACK are not acknowledged either.
    @Test func dataOnASYNACK() {
        let pair = Pair()
        pair.clientSends(1000, 0, .syn, mss)
        pair.client.arrive(pair.b, pair.a, 5000, 1001, [.syn, .ack], mss + [69, 4, 1, 0x23], [1, 2, 3])
        #expect(pair.client.takeKernel().map(\.payload) == [[]])
        #expect(pair.clientReport?.state == .handshake)
    }
}
