import FlowEngine
import Foundation
import OpenSSLProvider
import PacketWire
import Tcpcrypt

/// Two engines joined in memory, between kernels that do what a transfer needs and no more: what the daemons spend when nothing has to be
/// brought to them or taken from them.
final class EnginePair {
    /// One engine and the processor time it has had.
    private final class Side {
        var engine: Engine
        var output = Output()
        var seconds = 0.0
        private var number: UInt32 = 0

        init(_ configuration: EngineConfiguration) {
            engine = Engine(configuration: configuration, crypto: OpenSSLProvider(), random: SystemRandom())
        }

        /// Packets that go on: in the direction of the one handled, and, injected, to the wire.
        func handle(_ packet: [UInt8], _ direction: Direction, isGSO: Bool, _ now: Instant) -> (
            passed: [[UInt8]], injected: [[UInt8]]
        ) {
            number += 1
            let metadata = PacketMetadata(
                id: PacketID(queue: 0, number: number), direction: direction, isGSO: isGSO, mtu: 1500)
            let start = Clock.seconds()
            engine.receive(packet.span, metadata, now: now, into: &output)
            seconds += Clock.seconds() - start
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

    /// What a kernel sends.
    private struct Segment {
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

    private let client: Side
    private let server: Side
    private var now = Instant(nanoseconds: 1_000_000_000)
    private var port: UInt16 = 1024
    private var sent = 0
    private var opened: UInt64 = 0

    private static let timestamps: [UInt8] = [1, 1, 8, 10, 0, 0, 0, 1, 0, 0, 0, 1]
    private static let synOptions: [UInt8] = [2, 4, 5, 180, 4, 2, 8, 10, 0, 0, 0, 1, 0, 0, 0, 0, 1, 3, 3, 10]
    private static let clientISN: UInt32 = 1000
    private static let serverISN: UInt32 = 5000
    private static let address = IPAddress(ipv4: 0x0a00_0001)
    private static let service = Endpoint(address: IPAddress(ipv4: 0x0a00_0002), port: 80)

    init(resumption: Bool) {
        var configuration = EngineConfiguration()
        configuration.resumption = resumption
        configuration.maximumKeyExchangesPerSecond = 1_000_000
        client = Side(configuration)
        server = Side(configuration)
    }

    // MARK: - Connections

    /// Opens a connection from the next port.
    func connect() throws -> Cost {
        port = port == .max ? 1024 : port + 1
        sent = 0
        now = now.adding(milliseconds: 1)
        return try measure {
            kernelSends(client, Segment(sequence: Self.clientISN, flags: .syn, options: Self.synOptions))
            kernelSends(
                server,
                Segment(
                    sequence: Self.serverISN, acknowledgment: Self.clientISN + 1, flags: [.syn, .ack],
                    options: Self.synOptions))
            kernelSends(
                client, Segment(sequence: Self.clientISN + 1, acknowledgment: Self.serverISN + 1, flags: .ack))
            let counters = client.engine.counters
            opened += 1
            let isEncrypted = counters.freshHandshakes + counters.resumptions == opened
            guard isEncrypted else { throw BenchError.failed("the engines did not encrypt") }
        }
    }

    /// Tells the client how wide the server's window is: that of a SYN is not scaled.
    func openWindow() {
        kernelSends(
            server, Segment(sequence: Self.serverISN + 1, acknowledgment: Self.clientISN + 1, flags: .ack))
    }

    /// One packet of the client's kernel, and the acknowledgement of it.
    ///
    /// - Returns: what the packet cost, and what its acknowledgement did.
    func transfer(_ data: [UInt8], isGSO: Bool) throws -> (data: Cost, acknowledgement: Cost) {
        now = Instant(nanoseconds: now.nanoseconds + 20_000)
        var arrived = 0
        let cost = try measure {
            let delivered = kernelSends(
                client,
                Segment(
                    sequence: Self.clientISN &+ 1 &+ UInt32(truncatingIfNeeded: sent),
                    acknowledgment: Self.serverISN + 1, flags: [.ack, .psh], data: data), isGSO: isGSO)
            for packet in delivered { arrived += (try TCPPacket(parsing: packet.span)).payload.count }
        }
        guard arrived == data.count else { throw BenchError.failed("\(arrived) bytes of \(data.count) arrived") }
        sent += data.count
        let acknowledgement = measure {
            kernelSends(
                server,
                Segment(
                    sequence: Self.serverISN + 1,
                    acknowledgment: Self.clientISN &+ 1 &+ UInt32(truncatingIfNeeded: sent), flags: .ack))
        }
        return (cost, acknowledgement)
    }

    private func measure(_ body: () throws -> Void) rethrows -> Cost {
        let before = (client.seconds, server.seconds)
        try body()
        return Cost(client: (client.seconds - before.0) * 1e6, server: (server.seconds - before.1) * 1e6)
    }

    // MARK: - Packets

    /// Sends a packet of a kernel's, and all that comes of it until nothing more is under way.
    ///
    /// - Returns: what the other kernel got.
    @discardableResult
    private func kernelSends(_ side: Side, _ segment: Segment, isGSO: Bool = false) -> [[UInt8]] {
        let other = side === client ? server : client
        var delivered: [[UInt8]] = []
        let left = side.handle(bytes(segment, from: side), .outbound, isGSO: isGSO, now)
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

    private func bytes(_ segment: Segment, from side: Side) -> [UInt8] {
        let here = Endpoint(address: Self.address, port: port)
        let (source, destination) = side === client ? (here, Self.service) : (Self.service, here)
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
