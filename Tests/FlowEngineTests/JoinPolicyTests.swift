import OpenSSLProvider
import PacketWire
import Tables
import Tcpcrypt
import Testing

@testable import FlowEngine

/// What each join policy says of each kind of join, at the accepting and at the opening end.
@Suite struct JoinPolicyTests {
    private static let plainToken: [UInt8] = [7, 7, 7, 7]
    private static let plainLocal: UInt32 = 0x0606_0606
    private static let unknownToken: [UInt8] = [1, 2, 3, 4]

    /// A SYN from the wire to the server of an encrypted connection.
    enum Arriving: CaseIterable {
        case genuine, withoutProof, withMadeUpProof, withFreshOffer, withTwoOffers, ofUnknownToken, ofPlainConnection
        case disguised
    }

    private func host(_ seed: UInt64, _ joins: Policy.Joins) -> TestHost {
        TestHost(seed: seed) { configuration in
            configuration.policies = [PolicyRule()]
            configuration.policies[0].policy.joins = joins
        }
    }

    /// Both hosts also know a plain connection.
    private func connected(client: Policy.Joins = .require, server: Policy.Joins = .require) -> Pair {
        let pair = Pair(client: host(1, client), server: host(2, server))
        for host in [pair.client, pair.server] {
            host.engine.adoptPlain(tokens: [
                (local: Self.plainLocal, remote: 0), (local: 0x0707_0707, remote: 0x0707_0707),
            ])
        }
        Multipath(pair).connect()
        for host in [pair.client, pair.server] {
            _ = (host.takeKernel(), host.takeWire())
            host.actions = []
        }
        return pair
    }

    private func options(_ kind: Arriving) -> [UInt8] {
        let token = Multipath.token(Multipath.keyB)
        switch kind {
        case .genuine: return []
        case .withoutProof: return joinSYN(token)
        case .withMadeUpProof: return joinSYN(token) + [69, 19, 0xa3] + [UInt8](repeating: 9, count: 16)
        case .withFreshOffer: return joinSYN(token) + [69, 3, 0x23]
        case .withTwoOffers: return joinSYN(token) + [69, 3, 0x23, 69, 3, 0x23]
        case .ofUnknownToken: return joinSYN(Self.unknownToken)
        case .ofPlainConnection: return joinSYN(Self.plainToken)
        case .disguised: return joinSYN(Self.plainToken) + joinSYN(token)
        }
    }

    /// Nil: the local kernel sees the SYN.
    private func refusal(_ kind: Arriving, _ joins: Policy.Joins) -> JoinRefusal? {
        switch kind {
        case .ofPlainConnection: nil
        case .ofUnknownToken: .unknownToken
        case .genuine: joins == .off ? .policy : nil
        case .withoutProof, .disguised: joins == .off ? .policy : .noProof
        case .withMadeUpProof, .withFreshOffer, .withTwoOffers: joins == .off ? .policy : .badProof
        }
    }

    @Test(arguments: Policy.Joins.allCases, Arriving.allCases)
    func aJoinFromTheWire(_ joins: Policy.Joins, _ kind: Arriving) throws {
        let pair = connected(server: joins)
        let other = Pair(port: 40_001, client: pair.client, server: pair.server)
        let server = pair.server
        if kind == .genuine {
            other.clientSends(2000, 0, .syn, Multipath.synOptions(joinSYN(Multipath.token(Multipath.keyB))))
            other.settle()
        } else {
            server.arrive(other.a, other.b, 2000, 0, .syn, [2, 4, 5, 180] + options(kind))
        }
        let expected = refusal(kind, joins)
        let seen = server.takeKernel()
        #expect(seen.map { $0.options.joinToken != nil } == (expected == nil ? [true] : []))
        let refused = server.actions.compactMap { action -> JoinRefusal? in
            guard case .log(.joinRefused(let tuple, let reason, let token)) = action else { return nil }
            #expect(tuple == FlowTuple(local: other.b, remote: other.a) && token != nil)
            return reason
        }
        #expect(refused == (expected.map { [$0] } ?? []))
        #expect(server.engine.counters.joinsRefused == (expected == nil ? 0 : 1))
        guard expected != nil else { return }
        #expect(server.takeSeen().map(\.packet.flags) == (kind == .genuine ? [] : [[.rst, .ack]]))
        #expect(server.engine.flows.count == 1)
        #expect(server.engine.connections().flatMap(\.subflows).allSatisfy { $0.state == .encrypted })
    }

    /// A SYN of the client's kernel.
    enum Leaving: CaseIterable { case ofEncryptedConnection, ofPlainConnection, ofUnknownToken }

    @Test(arguments: Policy.Joins.allCases, Leaving.allCases)
    func aJoinOfTheLocalKernel(_ joins: Policy.Joins, _ kind: Leaving) {
        let pair = connected(client: joins)
        let other = Pair(port: 40_001, client: pair.client, server: pair.server)
        let token =
            switch kind {
            case .ofEncryptedConnection: Multipath.token(Multipath.keyB)
            case .ofPlainConnection: Self.plainToken
            case .ofUnknownToken: Self.unknownToken
            }
        other.clientSends(2000, 0, .syn, Multipath.synOptions(joinSYN(token)))
        let left = pair.client.takeSeen()
        let told = pair.client.takeKernel()
        let isAsked = pair.client.actions.contains { if case .inquire = $0 { true } else { false } }
        let count = pair.client.engine.counters.joinsRefused
        switch (kind, joins) {
        case (.ofPlainConnection, _):
            #expect(left.map(\.hasENO) == [false] && count == 0 && !isAsked)
        case (.ofEncryptedConnection, .require), (.ofEncryptedConnection, .prefer):
            #expect(left.map(\.hasENO) == [true] && count == 0 && !isAsked)
        case (.ofEncryptedConnection, .off):
            // The kernel is told at once.
            #expect(left.isEmpty && count == 1 && !isAsked && told.map(\.packet.flags) == [[.rst, .ack]])
            #expect(told.map(\.acknowledgment) == [2001] && told.map(\.sequence) == [0])
        case (.ofUnknownToken, .prefer):
            #expect(left.isEmpty && count == 0 && isAsked)
        case (.ofUnknownToken, _):
            #expect(left.isEmpty && count == 1 && !isAsked)
        }
        #expect(pair.client.engine.flows.count == (left.first?.hasENO == true ? 2 : 1))
    }

    /// What the local kernel may answer to the question whose a join is.
    enum Answer: CaseIterable { case nothing, anEncryptedConnection, nobodys, aPlainConnection }

    @Test(arguments: Answer.allCases)
    func onlyAJoinOfAPlainConnectionPassesInClear(_ answer: Answer) throws {
        let pair = connected(client: .prefer)
        let client = pair.client
        let other = Pair(port: 40_001, client: client, server: pair.server)
        let syn = Multipath.synOptions(joinSYN(Self.unknownToken))
        other.clientSends(2000, 0, .syn, syn)
        let inquiry = JoinInquiry(
            tuple: FlowTuple(local: other.a, remote: other.b), interface: 0, token: 0x0102_0304)
        #expect(client.actions.contains(.inquire(inquiry)))
        let own = Multipath.token(Multipath.keyA).span.loadUInt32(at: 0)
        let local: UInt32? =
            switch answer {
            case .nothing: nil
            case .anEncryptedConnection: own
            case .nobodys: 99
            case .aPlainConnection: Self.plainLocal
            }
        client.engine.resolve(inquiry, local: local, into: &client.output)
        client.drain()
        #expect(client.engine.counters.joinsRefused == (answer == .aPlainConnection ? 0 : 1))
        // The kernel repeats it.
        other.clientSends(2000, 0, .syn, syn)
        #expect(client.takeSeen().map(\.hasENO) == (answer == .aPlainConnection ? [false] : []))
        #expect(client.engine.flows.count == 1)
    }

    /// The token of an encrypted connection's peer does not become that of a plain one, whatever the kernel says.
    @Test func aTokenInUseIsNotLearnt() {
        let pair = connected(client: .prefer)
        let token = Multipath.token(Multipath.keyB)
        let inquiry = JoinInquiry(
            tuple: FlowTuple(local: pair.a, remote: pair.b), interface: 0, token: token.span.loadUInt32(at: 0))
        pair.client.engine.resolve(inquiry, local: Self.plainLocal, into: &pair.client.output)
        pair.client.drain()
        #expect(pair.client.engine.counters.joinsRefused == 1)
        let other = Pair(port: 40_001, client: pair.client, server: pair.server)
        other.clientSends(2000, 0, .syn, Multipath.synOptions(joinSYN(token)))
        #expect(pair.client.takeSeen().map(\.hasENO) == [true])
    }

    /// A connection that was half-open when the daemon began is listed among the plain ones, and encrypted later.
    @Test func whatBecomesEncryptedIsNoLongerPlain() {
        let pair = Pair(client: host(1, .prefer), server: host(2, .prefer))
        let own = Multipath.token(Multipath.keyA).span.loadUInt32(at: 0)
        pair.client.engine.adoptPlain(tokens: [(local: own, remote: 0)])
        Multipath(pair).connect()
        var isPlain = true
        pair.client.engine.host.locked { isPlain = pair.client.engine.host.tracker.isPlain(localToken: own) }
        #expect(!isPlain)
    }

    /// The peer's address and the port of the join's own SYN choose the policy.
    @Test func thePolicyIsThatOfTheJoinsAddresses() {
        let server = TestHost(seed: 2) { configuration in
            var rule = PolicyRule()
            rule.prefixes = [IPPrefix("10.0.0.9")].compactMap { $0 }
            rule.policy.joins = .off
            configuration.policies = [rule]
        }
        let pair = Pair(server: server)
        Multipath(pair).connect()
        server.arrive(stranger, pair.b, 1, 0, .syn, mss + joinSYN(Multipath.token(Multipath.keyB)))
        let other = Pair(port: 40_001, client: pair.client, server: server)
        Multipath(pair).join(other)
        #expect(server.engine.counters.joins == 1 && server.engine.counters.joinsRefused == 1)
    }

    /// Over a path faster than that of the key exchange: it is dropped without a word, and admitted when it comes again.
    @Test(arguments: Policy.Joins.allCases) func aJoinThatIsTooEarlyLeavesNothingBehind(_ joins: Policy.Joins) {
        let pair = Pair(server: host(2, joins))
        pair.clientSends(1000, 0, .syn, Multipath.synOptions([30, 4, 1, 1]))
        pair.settle()
        pair.serverSends(5000, 1001, [.syn, .ack], Multipath.synOptions([30, 12, 1, 1] + Multipath.keyB))
        _ = (pair.server.takeKernel(), pair.server.takeWire())
        pair.server.arrive(stranger, pair.b, 1, 0, .syn, mss + joinSYN(Multipath.token(Multipath.keyB)))
        #expect(pair.server.takeKernel().isEmpty)
        #expect(pair.server.takeSeen().count == (joins == .off ? 1 : 0))
        #expect(pair.server.engine.flows.count == 1)
        #expect(pair.server.engine.counters.joinsRefused == (joins == .off ? 1 : 0))
    }
}

/// Refusing a join takes nothing from anybody.
@Suite struct CheapRefusalTests {
    /// Where every place is taken: a bogus join does not take one, nor does it go without an answer.
    @Test func bogusJoinsTakeNobodysPlace() {
        let host = TestHost(seed: 1) {
            $0.maximumFlows = 1
            $0.maximumUnprovenFlows = 1
        }
        let here = Endpoint(address: IPAddress(ipv4: 0x0a00_0002), port: 80)
        let friend = Endpoint(address: IPAddress(ipv4: 0x0a00_0007), port: 7)
        host.arrive(friend, here, 1000, 0, .syn, mss + [69, 3, 0x23])
        host.leave(here, friend, 5000, 1001, [.syn, .ack], mss)
        host.advance(milliseconds: UnprovenFlows.patience)
        _ = (host.takeKernel(), host.takeWire())
        for number in 0..<100 {
            let source = Endpoint(address: IPAddress(ipv4: 0x0a60_0000 &+ UInt32(number)), port: 7)
            host.arrive(source, here, 1, 0, .syn, mss + joinSYN([1, 2, 3, 4]))
        }
        #expect(host.takeKernel().isEmpty && host.takeSeen().count == 100)
        #expect(host.engine.counters.joinsRefused == 100)
        #expect(host.engine.flows.keys.map(\.remote) == [friend])
    }

    /// A join that was admitted goes on, although nobody else could try its secret any more.
    @Test func aRepetitionIsNoFurtherAttempt() throws {
        let pair = Pair()
        Multipath(pair).connect()
        let other = Pair(port: 40_001, client: pair.client, server: pair.server)
        other.clientSends(2000, 0, .syn, Multipath.synOptions(joinSYN(Multipath.token(Multipath.keyB))))
        let syn = try #require(pair.client.takeSeen().last)
        let copied = syn.options.span.indices.map { syn.options.span[$0] }
        _ = pair.server.takeKernel()
        for port in 0..<UInt16(SecretChain.mostAttempts) + 3 {
            let source = port == 0 ? other.a : Endpoint(address: stranger.address, port: port)
            pair.server.arrive(source, other.b, syn.sequence, 0, .syn, copied)
        }
        #expect(pair.server.takeKernel().count == Int(SecretChain.mostAttempts))
        #expect(pair.server.engine.counters.joinsRefused == 3)
        #expect(pair.server.engine.flows.count == 1 + Int(SecretChain.mostAttempts))
        pair.server.arrive(other.a, other.b, syn.sequence, 0, .syn, copied)
        #expect(pair.server.takeKernel().map { $0.packet.source } == [other.a])
        #expect(pair.server.engine.counters.joinsRefused == 3)
    }

    /// Resets are limited, refusals are not.
    @Test func everyRefusalIsCounted() {
        let host = TestHost(seed: 1)
        let here = Endpoint(address: IPAddress(ipv4: 0x0a00_0002), port: 80)
        for number in 0..<5_000 {
            let source = Endpoint(address: IPAddress(ipv4: 0x0a60_0000 &+ UInt32(number)), port: 7)
            host.arrive(source, here, 1, 0, .syn, mss + joinSYN([1, 2, 3, 4]))
        }
        #expect(host.engine.counters.joinsRefused == 5_000 && host.takeWire().count == 1_000)
        #expect(host.engine.counters.publicKeyOperations == 0 && host.engine.flows.isEmpty)
    }
}
