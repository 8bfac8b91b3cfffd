import FlowEngine
import Foundation
import OpenSSLProvider
import PacketWire
import Tcpcrypt

/// Two engines joined in memory, between kernels that do what a transfer needs and no more: what the daemons spend when nothing has to be
/// brought to them or taken from them.
final class EnginePair {
    /// One engine and the time it has had.
    final class Side {
        var engine: Engine
        var output = Output()
        var seconds = 0.0
        /// The longest that one call took, in seconds: how long all other packets may have to wait.
        var longest = 0.0
        private var number: UInt32 = 0

        init(_ configuration: EngineConfiguration, _ crypto: any CryptoProvider) {
            engine = Engine(configuration: configuration, crypto: crypto, random: SystemRandom())
        }

        /// Time passes.
        func meetDeadlines(_ now: Instant) {
            doWhatIsDue(now)
            output.reset()
        }

        /// In as many calls as it takes.
        private func doWhatIsDue(_ now: Instant) {
            while let due = engine.nextDeadline, due <= now {
                timed { engine.handleDeadlines(now: now, into: &output) }
            }
        }

        /// Of others that have the processor meanwhile, the longest call shall know nothing.
        func timed(_ body: () -> Void) {
            let own = Clock.ownSeconds()
            let start = Clock.seconds()
            body()
            seconds += Clock.seconds() - start
            longest = max(longest, Clock.ownSeconds() - own)
        }

        /// Packets that go on: in the direction of the one handled, and, injected, to the wire.
        func handle(_ packet: [UInt8], _ direction: Direction, isGSO: Bool, _ now: Instant) -> (
            passed: [[UInt8]], injected: [[UInt8]]
        ) {
            number += 1
            let metadata = PacketMetadata(
                id: PacketID(queue: 0, number: number), direction: direction, isGSO: isGSO, mtu: 1500)
            timed { engine.receive(packet.span, metadata, now: now, into: &output) }
            doWhatIsDue(now)
            var passed: [[UInt8]] = []
            var injected: [[UInt8]] = []
            for action in output.actions {
                switch action {
                case .accept: passed.append(packet)
                case .replace(_, let range, _): passed.append(Array(output.bytes[range]))
                case .inject(let range, _): injected.append(Array(output.bytes[range]))
                default: break
                }
            }
            output.reset()
            return (passed, injected)
        }
    }

    /// A connection between the kernels.
    struct Connection {
        let client: Endpoint
        let server: Endpoint
        /// Those of MPTCP, where it is one.
        var keys: (client: [UInt8], server: [UInt8])?
        /// The server's, where this is a subflow that joins.
        var token: [UInt8]?
        var sent = 0

        var options: (syn: [UInt8], synACK: [UInt8], ack: [UInt8], later: [UInt8]) {
            if let token {
                return (
                    [30, 12, 0x10, 1] + token + EnginePair.joinRandom,
                    [30, 16, 0x10, 0] + [UInt8](repeating: 1, count: 8) + EnginePair.joinRandom,
                    [30, 24, 0x10, 0] + [UInt8](repeating: 1, count: 20), Self.dataACK
                )
            }
            guard let keys else { return ([], [], [], []) }
            return (
                [30, 4, 1, 1], [30, 12, 1, 1] + keys.server, [30, 20, 1, 1] + keys.client + keys.server,
                Self.dataACK
            )
        }

        private static let dataACK: [UInt8] = [30, 8, 0x20, 1, 0, 0, 0, 1]
    }

    /// What a kernel sends.
    struct Segment {
        var sequence: UInt32
        var acknowledgment: UInt32 = 0
        var flags: TCPFlags
        var options: [UInt8] = timestamps
        var data: [UInt8] = []
    }

    /// Microseconds of each engine.
    struct Cost {
        var client = 0.0
        var server = 0.0
        var both: Double { client + server }
    }

    let client: Side
    let server: Side
    private(set) var now = Instant(nanoseconds: 1_000_000_000)
    private var current = Connection(client: Endpoint(address: address, port: 1024), server: service)
    private var opened: UInt64 = 0

    private static let joinRandom: [UInt8] = [1, 2, 3, 4]
    private static let timestamps: [UInt8] = [1, 1, 8, 10, 0, 0, 0, 1, 0, 0, 0, 1]
    static let synOptions: [UInt8] = [2, 4, 5, 180, 4, 2, 8, 10, 0, 0, 0, 1, 0, 0, 0, 0, 1, 3, 3, 10]
    static let clientISN: UInt32 = 1000
    static let serverISN: UInt32 = 5000
    private static let address = IPAddress(ipv4: 0x0a00_0001)
    private static let service = Endpoint(address: IPAddress(ipv4: 0x0a00_0002), port: 80)

    init(
        resumption: Bool, crypto: any CryptoProvider = OpenSSLProvider(),
        sessions: Int = EngineConfiguration().maximumSessions
    ) {
        var configuration = EngineConfiguration()
        configuration.resumption = resumption
        configuration.maximumSessions = sessions
        configuration.maximumKeyExchangesPerSecond = 1_000_000
        client = Side(configuration, crypto)
        server = Side(configuration, crypto)
    }

    // MARK: - Connections

    /// Opens a connection from the next port: of MPTCP where it has keys, and a subflow that joins where it has a token.
    func connect(keys: (client: [UInt8], server: [UInt8])? = nil, token: [UInt8]? = nil) throws -> Cost {
        let port = current.client.port
        let next = Endpoint(address: Self.address, port: port == .max ? 1024 : port + 1)
        current = Connection(client: next, server: Self.service, keys: keys, token: token)
        return try connect(current)
    }

    /// Microseconds that the server's engine takes to refuse a join of the connection with that token, of whose secrets it knows none.
    func refuse(token: [UInt8], proof: [UInt8]) throws -> Double {
        let refused = server.engine.counters.joinsRefused
        current = Connection(
            client: Endpoint(address: Self.address, port: current.client.port &+ 1), server: Self.service, token: token)
        let segment = Segment(
            sequence: Self.clientISN, flags: .syn, options: [2, 4, 5, 180] + current.options.syn + proof)
        let before = server.seconds
        _ = server.handle(bytes(segment, current, from: client), .inbound, isGSO: false, now)
        guard server.engine.counters.joinsRefused == refused + 1 else { throw BenchError.failed("no join was refused") }
        return (server.seconds - before) * 1e6
    }

    func connect(_ connection: Connection) throws -> Cost {
        now = now.adding(milliseconds: 1)
        let options = connection.options
        return try measure {
            kernelSends(
                client, connection,
                Segment(sequence: Self.clientISN, flags: .syn, options: Self.synOptions + options.syn))
            kernelSends(
                server, connection,
                Segment(
                    sequence: Self.serverISN, acknowledgment: Self.clientISN + 1, flags: [.syn, .ack],
                    options: Self.synOptions + options.synACK))
            kernelSends(
                client, connection,
                Segment(
                    sequence: Self.clientISN + 1, acknowledgment: Self.serverISN + 1, flags: .ack,
                    options: Self.timestamps + options.ack))
            let counters = client.engine.counters
            opened += 1
            let isEncrypted = counters.freshHandshakes + counters.resumptions + counters.joins == opened
            guard isEncrypted else { throw BenchError.failed("the engines did not encrypt") }
        }
    }

    /// Tells the client how wide the server's window is: that of a SYN is not scaled.
    func openWindow() { openWindow(current) }

    func openWindow(_ connection: Connection) {
        kernelSends(
            server, connection,
            Segment(
                sequence: Self.serverISN + 1, acknowledgment: Self.clientISN + 1, flags: .ack,
                options: Self.timestamps + connection.options.later))
    }

    func transfer(_ data: [UInt8], isGSO: Bool) throws -> (data: Cost, acknowledgement: Cost) {
        try transfer(data, isGSO: isGSO, on: &current)
    }

    /// One packet of the client's kernel, and the acknowledgement of it.
    ///
    /// - Returns: what the packet cost, and what its acknowledgement did.
    func transfer(
        _ data: [UInt8], isGSO: Bool, on connection: inout Connection
    ) throws -> (data: Cost, acknowledgement: Cost) {
        now = Instant(nanoseconds: now.nanoseconds + 20_000)
        var arrived = 0
        let cost = try measure {
            let delivered = kernelSends(
                client, connection,
                Segment(
                    sequence: Self.clientISN &+ 1 &+ UInt32(truncatingIfNeeded: connection.sent),
                    acknowledgment: Self.serverISN + 1, flags: [.ack, .psh],
                    options: Self.timestamps + connection.options.later, data: data), isGSO: isGSO)
            for packet in delivered { arrived += (try TCPPacket(parsing: packet.span)).payload.count }
        }
        guard arrived == data.count else { throw BenchError.failed("\(arrived) bytes of \(data.count) arrived") }
        connection.sent += data.count
        let acknowledgement = measure {
            kernelSends(
                server, connection,
                Segment(
                    sequence: Self.serverISN + 1,
                    acknowledgment: Self.clientISN &+ 1 &+ UInt32(truncatingIfNeeded: connection.sent), flags: .ack,
                    options: Self.timestamps + connection.options.later))
        }
        return (cost, acknowledgement)
    }

    /// Time passes for both.
    func wait(milliseconds: Int64) {
        now = now.adding(milliseconds: milliseconds)
        client.meetDeadlines(now)
        server.meetDeadlines(now)
    }

    func measure(_ body: () throws -> Void) rethrows -> Cost {
        let before = (client.seconds, server.seconds)
        try body()
        return Cost(client: (client.seconds - before.0) * 1e6, server: (server.seconds - before.1) * 1e6)
    }

    // MARK: - Packets

    /// Sends a packet of a kernel's, and all that comes of it until nothing more is under way.
    ///
    /// - Returns: what the other kernel got.
    @discardableResult
    func kernelSends(
        _ side: Side, _ connection: Connection, _ segment: Segment, isGSO: Bool = false
    ) -> [[UInt8]] {
        let other = side === client ? server : client
        var delivered: [[UInt8]] = []
        let left = side.handle(bytes(segment, connection, from: side), .outbound, isGSO: isGSO, now)
        var underWay = (left.passed + left.injected).map { (other, $0) }
        while !underWay.isEmpty {
            let (receiver, packet) = underWay.removeFirst()
            let isSuperPacket = packet.count > 1500
            let arrived = receiver.handle(packet, .inbound, isGSO: isSuperPacket, now)
            if receiver === other { delivered += arrived.passed }
            underWay += arrived.injected.map { (receiver === client ? server : client, $0) }
        }
        return delivered
    }

    func bytes(_ segment: Segment, _ connection: Connection, from side: Side) -> [UInt8] {
        let (here, there) = (connection.client, connection.server)
        let (source, destination) = side === client ? (here, there) : (there, here)
        let template = HeaderTemplate.bytes(from: source, to: destination)
        guard let packet = try? TCPPacket(parsing: template.span) else { return [] }
        let options = TCPOptions(parsing: segment.options.span)
        let headers = packet.length(options: options, payloadCount: 0)
        var bytes = [UInt8](repeating: 0, count: headers) + segment.data
        var target = bytes.mutableSpan
        packet.write(
            TCPHeader(
                sequence: SequenceNumber(segment.sequence), acknowledgment: SequenceNumber(segment.acknowledgment),
                flags: segment.flags, window: 60_000),
            options: options, template: template.span, checksum: .full, into: &target)
        return bytes
    }
}
