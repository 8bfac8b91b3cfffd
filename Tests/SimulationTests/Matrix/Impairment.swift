import FlowEngine
import PathDevices
import TestSupport
import Testing

/// A column of the table: what a path, a middlebox or a host does to connections.
struct Impairment: Sendable, CustomTestStringConvertible {
    /// What must come of a connection.
    enum Expectation: Sendable {
        /// Encrypted, but for the reasons given; where it fails, plain TCP fails as well.
        case encrypted(unless: Set<FallbackReason>)
        /// Ordinary TCP from the first byte.
        case plain
        /// Encrypted or plain, both ends alike.
        case whole
        /// Whole, or an error at both ends.
        case ends
    }

    let name: String
    var expectation = Expectation.encrypted(unless: [])
    /// Devices of the common library, in words.
    var toServer = ""
    var toClient = ""
    /// The same at a quarter of the data, and for how many milliseconds.
    var later = ""
    var laterMilliseconds = Int64.max
    /// A packet that ends a connection may be lost: then the other end need not notice.
    var losesPackets = false
    /// Urgent pointers survive.
    var keepsUrgent = true
    var adapt: @Sendable (inout Simulation.Setup, inout SeededRandom) -> Void = { _, _ in }

    var testDescription: String { name }

    /// SYNs may get lost more often than the engine has patience with ENO.
    static let lostSYN: Set<FallbackReason> = [.synRetransmitted, .noENO, .noENOOnACK]
    private static let lost = Expectation.encrypted(unless: lostSYN)

    private static func both(
        _ name: String, _ devices: String, _ expectation: Expectation = .encrypted(unless: []),
        losesPackets: Bool = false, keepsUrgent: Bool = true
    ) -> Impairment {
        Impairment(
            name: name, expectation: expectation, toServer: devices, toClient: devices, losesPackets: losesPackets,
            keepsUrgent: keepsUrgent)
    }

    private static func planned(
        _ name: String, _ expectation: Expectation = .encrypted(unless: []), toServer: [PlannedLoss] = [],
        toClient: [PlannedLoss] = []
    ) -> Impairment {
        Impairment(name: name, expectation: expectation, losesPackets: true) { setup, _ in
            setup.toServer.plannedLosses = toServer
            setup.toClient.plannedLosses = toClient
        }
    }

    static let all: [Impairment] = [
        Impairment(name: "clean"),
        both("loss-0.1", "loss=0.1%", lost, losesPackets: true),
        both("loss-1", "loss=1%", lost, losesPackets: true),
        both("loss-3", "loss=3%", lost, losesPackets: true),
        both("loss-10", "loss=10%", lost, losesPackets: true),
        both("burst", "burst=1%:3", lost, losesPackets: true),
        Impairment(name: "flights", losesPackets: true) { setup, random in
            let length = Int64(setup.toServer.delayMicroseconds) * 3000
            setup.toServer.plannedLosses = (0..<3).map { _ in
                .silence(at: random.logarithmic(1...60_000), for: length)
            }
            setup.toClient.plannedLosses = (0..<3).map { _ in
                .silence(at: random.logarithmic(1...60_000), for: length)
            }
        },
        Impairment(name: "deafness", losesPackets: true) { setup, random in
            let place = random.logarithmic(1...60_000)
            setup.toServer.plannedLosses = [.deafness(at: place, for: 700_000_000)]
            setup.toClient.plannedLosses = [.deafness(at: place, for: 700_000_000)]
        },
        both("jitter", "delay=5ms jitter=10ms"),
        both("reorder", "reorder=5%:5ms"),
        both("reorder-far", "reorder=2%:80ms"),
        both("duplicate", "duplicate=5%"),
        both("corrupt", "corrupt=2%", lost, losesPackets: true),
        both("slow", "rate=2mbit queue=40kB", lost, losesPackets: true),
        both("split", "split=300"),
        both("coalesce", "coalesce", keepsUrgent: false),
        both("renumber", "renumber"),
        both("clamp-mss", "clamp-mss=700"),
        both("mtu-1280", "mtu=1280"),
        Impairment(name: "mtu-drop", later: "mtu=1280"),
        Impairment(name: "cut", expectation: lost, later: "loss=1", laterMilliseconds: 5_000, losesPackets: true),
        Impairment(name: "cut-long", expectation: lost, later: "loss=1", laterMilliseconds: 15_000, losesPackets: true),
        planned("lost-syn", toServer: [.syn(times: 1)]),
        planned("lost-synack", toClient: [.syn(times: 1)]),
        planned("lost-init1", toServer: [.first(times: 3)]),
        planned("lost-init2", toClient: [.first(times: 3)]),
        planned("lost-fin", toServer: [.fin(times: 2)], toClient: [.fin(times: 2)]),
        both("proxy-ack", "proxy-ack", losesPackets: true, keepsUrgent: false),
        Impairment(
            name: "syn-proxy", expectation: .plain, toServer: "syn-proxy=500", losesPackets: true, keepsUrgent: false),
        Impairment(name: "strip-eno-syn", expectation: .plain, toServer: "strip-eno=syn", toClient: "strip-eno=syn"),
        both("strip-eno-synack", "strip-eno=synack", .plain),
        both("strip-eno-ack", "strip-eno=ack", .ends, losesPackets: true),
        both("clear-options", "clear-options", .plain),
        both("strip-mptcp-syn", "strip-mptcp=syn"),
        both("strip-mptcp-synack", "strip-mptcp=synack"),
        both("strip-mptcp-ack", "strip-mptcp=ack"),
        both("strip-mptcp", "strip-mptcp=all"),
        Impairment(name: "memory") { setup, random in
            for side in [\Simulation.Setup.client, \.server] { setup[keyPath: side].kernel.dropRate = 0.05 }
        },
        both("tamper", "tamper=1%", .ends, losesPackets: true, keepsUrgent: false),
        Impairment(name: "attacker", expectation: .ends, losesPackets: true, keepsUrgent: false) { setup, random in
            var hostility = Hostility()
            hostility.corruption = 0.02
            hostility.forgery = 0.05
            hostility.garbage = 0.05
            hostility.limit = random.int(1...20)
            setup.hostility = hostility
        },
    ]
}
