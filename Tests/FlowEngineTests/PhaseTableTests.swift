import PacketWire
import Tables
import Testing

@testable import FlowEngine

/// Every phase of a flow and every kind of packet, from either side: each packet gets exactly one verdict, and nothing of the
/// kernel's is on the wire in clear once there may be keys.
@Suite struct PhaseTableTests {
    enum Phase: String, CaseIterable, CustomTestStringConvertible {
        case none, opening, judged, answered, openerWithoutKeys, acceptorWithoutKeys, opener, acceptor, resumed
        case halfClosed, closed, plain, aborted, reset, crossed, crossedWithoutKeys, refused
        var testDescription: String { rawValue }

        var isProtected: Bool {
            switch self {
            case .none, .opening, .judged, .answered, .plain, .crossed: false
            default: true
            }
        }
    }

    struct Kind: CustomStringConvertible {
        let name: String
        let flags: TCPFlags
        /// Where it stands, from where the stream goes on.
        var place: Int32 = 0
        var options: [UInt8] = []
        var count = 0
        var isDamaged = false
        var description: String { name }
    }

    static let kinds: [Kind] = [
        Kind(name: "SYN", flags: .syn, place: -1, options: mss),
        Kind(name: "SYN with ENO", flags: .syn, place: -1, options: mss + [69, 3, 0x23]),
        Kind(name: "SYN, MP_CAPABLE", flags: .syn, place: -1, options: mss + [30, 4, 1, 1]),
        Kind(name: "SYN, MP_JOIN", flags: .syn, place: -1, options: mss + joinSYN([1, 2, 3, 4])),
        Kind(name: "another SYN", flags: .syn, place: 70_000, options: mss),
        Kind(name: "SYN-ACK", flags: [.syn, .ack], place: -1, options: mss),
        Kind(name: "SYN-ACK with ENO", flags: [.syn, .ack], place: -1, options: mss + [69, 4, 0x01, 0x23]),
        Kind(name: "ACK", flags: .ack),
        Kind(name: "ACK with ENO", flags: .ack, options: [69, 2]),
        Kind(name: "keep-alive", flags: .ack, place: -1),
        Kind(name: "data", flags: [.ack, .psh], count: 50),
        Kind(name: "data with ENO", flags: [.ack, .psh], options: [69, 2], count: 50),
        Kind(name: "urgent data", flags: [.ack, .urg], count: 50),
        Kind(name: "old data", flags: .ack, place: -20, count: 15),
        Kind(name: "older data", flags: .ack, place: -100_000_000, count: 50),
        Kind(name: "data behind a hole", flags: .ack, place: 300, count: 50),
        Kind(name: "data beyond the window", flags: .ack, place: 10_000_000, count: 50),
        Kind(name: "FIN", flags: [.fin, .ack]),
        Kind(name: "FIN with data", flags: [.fin, .ack, .psh], count: 50),
        Kind(name: "RST", flags: [.rst, .ack]),
        Kind(name: "bare RST", flags: .rst),
        Kind(name: "RST in the window", flags: .rst, place: 100),
        Kind(name: "no flags", flags: [], count: 10),
        Kind(name: "all flags", flags: TCPFlags(rawValue: 0xff), count: 10),
        Kind(name: "SYN-FIN", flags: [.syn, .fin], count: 10),
        Kind(name: "damaged options", flags: .ack, options: [8, 40, 1, 1], count: 10),
        Kind(name: "wrong checksum", flags: .ack, count: 50, isDamaged: true),
    ]

    /// What an application would not like to see on the wire.
    private static let secret: [UInt8] = Array("in clear ".utf8)

    /// A host with a flow in some phase.
    struct World {
        let host: TestHost
        let local: Endpoint
        let remote: Endpoint

        var flow: Flow? { host.engine.flows[FlowTuple(local: local, remote: remote)] }

        func feed(_ kind: Kind, _ direction: Direction) {
            let isOut = direction == .outbound
            let (ours, theirs): (UInt32, UInt32)
            if let flow {
                ours = flow.outOrigin.sequence(at: isOut ? flow.send.queuedK : flow.send.sentW).rawValue
                theirs =
                    flow.inOrigin.sequence(at: isOut ? flow.receive.deliveredK : flow.receive.contiguousW).rawValue
            } else {
                (ours, theirs) = (1001, 5001)
            }
            let sequence = (isOut ? ours : theirs) &+ UInt32(bitPattern: kind.place)
            let payload = (0..<kind.count).map { PhaseTableTests.secret[$0 % PhaseTableTests.secret.count] }
            var bytes = TestSegment(
                source: isOut ? local : remote, destination: isOut ? remote : local, sequence: sequence,
                acknowledgment: kind.flags.contains(.ack) ? (isOut ? theirs : ours) : 0, flags: kind.flags,
                options: kind.options, payload: payload
            ).bytes
            if kind.isDamaged, !isOut { bytes[bytes.count - 1] ^= 1 }
            host.feed(bytes, direction)
        }

        /// What is held waits for at most this long.
        func finish() {
            for _ in 0..<10 { host.advance(milliseconds: 500) }
            for _ in 0..<30 { host.advance(milliseconds: 10_000) }
        }

        /// What must hold after `fed` packets.
        func failures(mayBePlain: Bool) -> [String] {
            var failures: [String] = []
            var answers: [PacketID: Int] = [:]
            for action in host.actions {
                switch action {
                case .accept(let id, _), .replace(let id, _, _), .drop(let id): answers[id, default: 0] += 1
                default: break
                }
            }
            for (id, count) in answers where count != 1 { failures.append("packet \(id.number) got \(count) verdicts") }
            if host.held > 0 { failures.append("\(host.held) packets without a verdict") }
            if !mayBePlain, host.toWire.contains(where: PhaseTableTests.isClear) { failures.append("plaintext") }
            return failures
        }
    }

    private static func isClear(_ bytes: [UInt8]) -> Bool {
        guard bytes.count >= secret.count else { return false }
        return (0...bytes.count - secret.count).contains { Array(bytes[$0..<$0 + secret.count]) == secret }
    }

    static func world(_ phase: Phase) -> World {
        let pair = Pair()
        let asClient = World(host: pair.client, local: pair.a, remote: pair.b)
        let asServer = World(host: pair.server, local: pair.b, remote: pair.a)
        let open = { pair.clientSends(1000, 0, .syn, mss) }
        let answer = { pair.serverSends(5000, 1001, [.syn, .ack], mss) }
        switch phase {
        case .none: return asClient
        case .opening:
            open()
            return asClient
        case .judged, .answered, .openerWithoutKeys:
            open()
            pair.settle()
            if phase == .judged { return asServer }
            answer()
            if phase == .answered { return asServer }
            for bytes in pair.server.takeWire() { pair.client.feed(bytes, .inbound) }
            pair.clientSends(1001, 5001, .ack)
            return asClient
        case .acceptorWithoutKeys:
            let attacker = HandMade(pair.server)
            attacker.openSilently()
            return World(host: pair.server, local: attacker.there, remote: attacker.here)
        case .plain:
            pair.clientSends(1000, 0, .syn, mss)
            _ = pair.client.takeWire()
            pair.client.arrive(pair.b, pair.a, 5000, 1001, [.syn, .ack], mss)
            return asClient
        case .crossed, .crossedWithoutKeys, .refused:
            return crossed(phase)
        case .resumed:
            pair.connect()
            let again = Pair(port: 40_001, client: pair.client, server: pair.server)
            again.connect()
            return World(host: pair.server, local: again.b, remote: again.a)
        default:
            pair.connect()
            return later(phase, pair, asClient, asServer)
        }
    }

    /// A client that claims the passive role or, where it is refused, does not, and requires encryption.
    private static func crossed(_ phase: Phase) -> World {
        let host = TestHost(seed: 1) {
            $0.policies = [.of(.require)]
            $0.policies[0].policy.takesPassiveRole = phase != .refused
        }
        let pair = Pair(client: host)
        pair.clientSends(1000, 0, .syn, mss)
        host.arrive(pair.b, pair.a, 5000, 0, .syn, mss + [69, 3, 0x23])
        pair.clientSends(1000, 5001, [.syn, .ack], mss)
        if phase == .crossedWithoutKeys {
            host.arrive(pair.b, pair.a, 5000, 1001, [.syn, .ack], mss + [69, 3, 0x23])
        }
        _ = host.takeKernel()
        return World(host: host, local: pair.a, remote: pair.b)
    }

    private static func later(_ phase: Phase, _ pair: Pair, _ asClient: World, _ asServer: World) -> World {
        switch phase {
        case .halfClosed, .closed:
            pair.clientSends(1001, 5001, [.ack, .fin])
            pair.settle()
            pair.serverSends(5001, 1002, .ack)
            pair.settle()
            guard phase == .closed else { return asClient }
            pair.serverSends(5001, 1002, [.ack, .fin])
            pair.settle()
            pair.clientSends(1002, 5002, .ack)
            pair.settle()
        case .aborted:
            pair.client.engine.shutDown(now: pair.client.now, into: &pair.client.output)
            pair.client.drain()
        case .reset: pair.clientSends(1001, 5001, [.rst, .ack])
        case .acceptor: return asServer
        default: break
        }
        return asClient
    }

    @Test(arguments: Phase.allCases) func everyPacketGetsOneVerdict(_ phase: Phase) {
        for kind in Self.kinds {
            for direction in [Direction.inbound, .outbound] {
                let world = Self.world(phase)
                _ = world.host.takeWire()
                world.feed(kind, direction)
                world.finish()
                let failures = world.failures(mayBePlain: !phase.isProtected)
                #expect(failures.isEmpty, "\(phase), \(kind), \(direction)")
            }
        }
    }

    /// One after another, in no sensible order.
    @Test(arguments: Phase.allCases) func rowsOfPackets(_ phase: Phase) {
        let random = CountingRandom(UInt64(Phase.allCases.firstIndex(of: phase) ?? 0))
        for _ in 0..<40 {
            let world = Self.world(phase)
            _ = world.host.takeWire()
            var row: [String] = []
            for byte in random.bytes(8) {
                let kind = Self.kinds[Int(byte) % Self.kinds.count]
                let direction = byte & 0x80 == 0 ? Direction.inbound : .outbound
                // A new connection between the same ends may be plain.
                if phase.isProtected, kind.flags.contains(.syn) { continue }
                row.append("\(kind.name) \(direction)")
                world.feed(kind, direction)
            }
            world.finish()
            #expect(world.failures(mayBePlain: !phase.isProtected).isEmpty, "\(phase): \(row)")
        }
    }
}
