import PacketWire
import Tables
import Tcpcrypt
import Testing

@testable import FlowEngine

/// Each way in which encryption may not come about: with the policy `require` both ends see an error at once and the kernel never gets as far
/// as a connection; with `prefer` it is ordinary TCP.
@Suite struct RequiredEncryptionTests {
    struct Way: Sendable, CustomTestStringConvertible {
        let testDescription: String
        let reason: FallbackReason
        var configure: @Sendable (inout EngineConfiguration) -> Void = { _ in }
        let run: @Sendable (Pair) -> Void

        init(
            _ name: String, _ reason: FallbackReason,
            configure: @escaping @Sendable (inout EngineConfiguration) -> Void = { _ in },
            _ run: @escaping @Sendable (Pair) -> Void
        ) {
            testDescription = name
            self.reason = reason
            self.configure = configure
            self.run = run
        }

        /// A host with the policy.
        func host(_ seed: UInt64, _ encryption: Policy.Encryption) -> TestHost {
            TestHost(seed: seed) { configuration in
                configuration.policies = [.of(encryption)]
                configure(&configuration)
            }
        }
    }

    /// The client's SYN, answered with an option by a server without an engine.
    private static func answered(_ options: [UInt8], flags: TCPFlags = [.syn, .ack]) -> @Sendable (Pair) -> Void {
        { pair in
            pair.clientSends(1000, 0, .syn, mss)
            _ = pair.client.takeWire()
            pair.client.arrive(pair.b, pair.a, 5000, flags.contains(.ack) ? 1001 : 0, flags, mss + options)
        }
    }

    static let ofOpeners: [Way] = [
        Way("unaware peer", .noENO, answered([])),
        Way("vacuous answer", .vacuousENO, answered([69, 3, 1])),
        Way("ill-formed answer", .illFormedENO, answered([69, 4, 1, 0x9f])),
        Way("two answers", .illFormedENO, answered([69, 4, 1, 0x23, 69, 4, 1, 0x23])),
        Way("another TEP", .noCommonTEP, answered([69, 4, 1, 0x24])),
        Way("a peer that claims our role", .roleConflict, answered([69, 4, 0x21, 0x23])),
        Way("our offer echoed", .echoedENO, answered([69, 3, 0x23, 1, 1, 1])),
        Way("both open", .roleConflict, answered([69, 3, 0x23], flags: .syn)),
        Way("both open, the other one unaware", .noENO, answered([], flags: .syn)),
        Way(
            "an opener with b = 1", .roleConflict, configure: { $0.policies[0].policy.takesPassiveRole = true },
            answered([69, 5, 1, 0x21, 0x23])),
        Way(
            "not application-aware", .notApplicationAware,
            configure: { $0.policies[0].policy.applicationAware = .mandatory }, answered([69, 4, 1, 0x23])),
        Way("no TEP", .noCommonTEP, configure: { $0.teps = [] }, { $0.clientSends(1000, 0, .syn, mss) }),
        Way("no room among the options", .optionSpace) { $0.clientSends(1000, 0, .syn, mss + full) },
        Way("no seeded randomness", .noRandomness) { pair in
            pair.client.engine.isRandomnessSeeded = false
            pair.clientSends(1000, 0, .syn, mss)
        },
        Way("the daemon stops", .stopping) { pair in
            pair.clientSends(1000, 0, .syn, mss)
            pair.client.engine.shutDown(now: pair.client.now, into: &pair.client.output)
            pair.client.drain()
        },
    ]

    private func events(_ host: TestHost) -> [EngineEvent] {
        host.actions.compactMap { if case .log(let event) = $0 { event } else { nil } }
    }

    @Test(arguments: ofOpeners) func anOpenerSeesAnError(_ way: Way) {
        let pair = Pair(client: way.host(1, .require))
        way.run(pair)
        let tuple = FlowTuple(local: pair.a, remote: pair.b)
        #expect(events(pair.client) == [.refused(tuple, way.reason)])
        #expect(pair.client.engine.counters.connectionsRefused == 1 && pair.client.engine.counters.fallbacks == 0)
        // connect() fails with ECONNREFUSED: a reset that acknowledges the SYN.
        let toKernel = pair.client.takeKernel()
        #expect(toKernel.count == 1)
        #expect(toKernel.first?.packet.flags == [.rst, .ack] && toKernel.first?.acknowledgment == 1001)
        let toWire = pair.client.takeSeen().filter { !$0.hasENO }
        #expect(toWire.allSatisfy { $0.packet.flags.contains(.rst) && $0.payload.isEmpty })
        // What comes late is refused too.
        pair.client.arrive(pair.b, pair.a, 5000, 1001, [.syn, .ack], mss)
        #expect(pair.client.takeKernel().allSatisfy { $0.packet.flags == [.rst, .ack] })
        #expect(pair.client.takeSeen().map(\.packet.flags) == [[.rst, .ack]])
        #expect(pair.client.held == 0)
    }

    @Test(arguments: ofOpeners) func withoutThePolicyItIsOrdinaryTCP(_ way: Way) {
        let pair = Pair(client: way.host(1, .prefer))
        way.run(pair)
        #expect(events(pair.client) == [.fellBack(FlowTuple(local: pair.a, remote: pair.b), way.reason)])
        #expect(pair.client.engine.counters.connectionsRefused == 0 && pair.client.engine.counters.fallbacks == 1)
    }

    /// The peer's SYN.
    private static func opened(_ options: [UInt8], _ payload: [UInt8] = []) -> @Sendable (Pair) -> Void {
        { pair in pair.server.arrive(pair.a, pair.b, 1000, 0, .syn, mss + options, payload) }
    }

    /// A handshake that ends with a segment without ENO.
    private static func concluded(
        _ flags: TCPFlags = .ack, _ payload: [UInt8] = []
    ) -> @Sendable (Pair) -> Void {
        { pair in
            opened([69, 3, 0x23])(pair)
            _ = pair.server.takeKernel()
            pair.serverSends(5000, 1001, [.syn, .ack], mss)
            _ = pair.server.takeWire()
            pair.server.arrive(pair.a, pair.b, 1001, 5001, flags, [], payload)
        }
    }

    static let atTheSYN: [Way] = [
        Way("unaware peer", .noENO, opened([])),
        Way("unaware peer, data on the SYN", .noENO, opened([34, 10, 1, 2, 3, 4, 5, 6, 7, 8], [1, 2, 3])),
        Way("vacuous offer", .vacuousENO, opened([69, 2])),
        Way("ill-formed offer", .illFormedENO, opened([69, 4, 0x9f, 0x23])),
        Way("two offers", .illFormedENO, opened([69, 3, 0x23, 69, 3, 0x23])),
        Way("other TEPs", .noCommonTEP, opened([69, 3, 0x24])),
        Way("a peer that claims our role", .roleConflict, opened([69, 4, 1, 0x23])),
        Way(
            "not application-aware", .notApplicationAware,
            configure: { $0.policies[0].policy.applicationAware = .mandatory }, opened([69, 3, 0x23])),
        Way("no TEP", .noCommonTEP, configure: { $0.teps = [] }, opened([69, 3, 0x23])),
        Way("no seeded randomness", .noRandomness) { pair in
            pair.server.engine.isRandomnessSeeded = false
            opened([69, 3, 0x23])(pair)
        },
        Way(
            "busy", .busy, configure: { $0.maximumKeyExchangesPerSecond = 1 },
            { pair in
                // They are counted when Init1 comes.
                let other = Pair(port: 41_000, server: pair.server)
                other.connect()
                pair.server.actions = []
                pair.server.engine.host.counters = EngineCounters()
                _ = (pair.server.takeKernel(), pair.server.takeWire())
                opened([69, 3, 0x23])(pair)
            }),
    ]

    @Test(arguments: atTheSYN) func aSYNIsRefused(_ way: Way) {
        let pair = Pair(server: way.host(2, .require))
        way.run(pair)
        #expect(events(pair.server) == [.refused(FlowTuple(local: pair.b, remote: pair.a), way.reason)])
        #expect(pair.server.engine.counters.connectionsRefused == 1 && pair.server.engine.counters.fallbacks == 0)
        #expect(pair.server.takeKernel().isEmpty)
        let answer = pair.server.takeSeen()
        #expect(answer.map(\.packet.flags) == [[.rst, .ack]])
        #expect(
            answer.first.map { $0.acknowledgment - 1001 }
                == answer.first.map { _ in way.testDescription.contains("data") ? 3 : 0 })
        #expect(pair.server.engine.flows.count == (way.reason == .busy ? 1 : 0) && pair.server.held == 0)
    }

    @Test(arguments: atTheSYN) func withoutThePolicyASYNPasses(_ way: Way) {
        let pair = Pair(server: way.host(2, .prefer))
        way.run(pair)
        #expect(events(pair.server) == [.fellBack(FlowTuple(local: pair.b, remote: pair.a), way.reason)])
        #expect(pair.server.takeKernel().map(\.packet.flags) == [.syn])
    }

    static let atTheACK: [Way] = [
        Way("a bare ACK", .noENOOnACK, concluded()),
        Way("data", .noENOOnACK, concluded([.ack, .psh], [1, 2, 3])),
        Way("a FIN", .noENOOnACK, concluded([.ack, .fin])),
        Way("no room in the SYN-ACK", .optionSpace) { pair in
            opened([69, 3, 0x23])(pair)
            _ = pair.server.takeKernel()
            pair.serverSends(5000, 1001, [.syn, .ack], mss + full)
        },
    ]

    @Test(arguments: atTheACK) func aHalfOpenConnectionIsReset(_ way: Way) {
        let pair = Pair(server: way.host(2, .require))
        way.run(pair)
        #expect(events(pair.server) == [.refused(FlowTuple(local: pair.b, remote: pair.a), way.reason)])
        // At exactly the number that the kernel expects.
        let toKernel = pair.server.takeKernel()
        #expect(toKernel.map(\.packet.flags) == [.rst] && toKernel.first?.sequence == 1001)
        #expect(toKernel.allSatisfy { $0.payload.isEmpty })
        let toPeer = pair.server.takeSeen()
        #expect(toPeer.map(\.packet.flags) == [[.rst, .ack]] && toPeer.first?.sequence == 5001)
        // Should the kernel go on with it all the same, nothing leaves.
        pair.serverSends(5001, 1001, [.ack, .psh], [], [7, 7, 7])
        pair.server.arrive(pair.a, pair.b, 1001, 5001, [.ack, .psh], [], [1, 2, 3])
        #expect(pair.server.takeKernel().isEmpty || way.reason == .optionSpace)
        #expect(!pair.server.takeSeen().contains { !$0.payload.isEmpty } || way.reason == .optionSpace)
    }

    @Test(arguments: atTheACK) func withoutThePolicyItGoesOn(_ way: Way) {
        let pair = Pair(server: way.host(2, .prefer))
        way.run(pair)
        #expect(events(pair.server) == [.fellBack(FlowTuple(local: pair.b, remote: pair.a), way.reason)])
        #expect(!pair.server.takeKernel().contains { $0.packet.flags.contains(.rst) })
    }
}

/// Leaves no room for ENO.
private let full = md5 + [253, 14] + [UInt8](repeating: 0, count: 12)

extension PolicyRule {
    /// For every connection.
    static func of(_ encryption: Policy.Encryption) -> PolicyRule {
        var rule = PolicyRule()
        rule.policy.encryption = encryption
        return rule
    }
}
