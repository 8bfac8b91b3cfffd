import FlowEngine
import Foundation
import OpenSSLProvider
import PacketWire
import Synchronization
import Tcpcrypt

/// Two engines with many open connections, all encrypted and idle, and many sessions.
final class Crowd {
    struct Size: Hashable, Sendable {
        var connections: Int
        var sessions: Int
        var isMultipath = false
    }

    /// How long it takes: with the same connection or peer as before, with any other, and the longest call of either engine.
    struct Result {
        var again: [Double] = []
        var another: [Double] = []

        func row(_ longest: Double) -> [Double] { [again.median ?? .nan, another.median ?? .nan, longest * 1e6] }
    }

    let size: Size
    let pair: EnginePair
    /// Bytes of memory for each of both engines' connections and sessions.
    private(set) var connectionMemory = Double.nan
    private(set) var sessionMemory = Double.nan
    /// Seconds of the longest call while it grew.
    private(set) var longestOfSessions = 0.0
    private(set) var longestOfConnections = 0.0

    private let crypto = QuickAgreement()
    private var connections: [EnginePair.Connection] = []
    private var opened = 0
    private var peers = 0
    private var lastProgress = Clock.seconds()

    /// Samples of each kind.
    private static let samples = 3000

    init(_ size: Size) throws {
        self.size = size
        ProcessorTime.giveBackMemory()
        pair = EnginePair(
            resumption: true, crypto: crypto, sessions: max(EngineConfiguration().maximumSessions, size.sessions))
        var before = ProcessorTime.residentBytes()
        for index in 0..<size.sessions {
            try meet()
            if index == 0 { before = ProcessorTime.residentBytes() }
            tell("sessions", index, of: size.sessions)
        }
        pair.wait(milliseconds: 200_000)
        sessionMemory = (ProcessorTime.residentBytes() - before) / Double(2 * max(1, size.sessions - 1))
        longestOfSessions = takeLongest()
        before = ProcessorTime.residentBytes()
        for index in 0..<size.connections {
            let connection = try open(peer: Int.random(in: 0..<peers)).connection
            pair.openWindow(connection)
            connections.append(connection)
            if index % 1000 == 0 { pair.wait(milliseconds: 2000) }
            tell("connections", index, of: size.connections)
        }
        pair.wait(milliseconds: 10_000)
        connectionMemory = (ProcessorTime.residentBytes() - before) / Double(2 * size.connections)
        longestOfConnections = takeLongest()
        crypto.isQuick.store(false, ordering: .relaxed)
    }

    // MARK: - Making it

    private func tell(_ what: String, _ done: Int, of all: Int) {
        guard Clock.seconds() - lastProgress > 2 else { return }
        lastProgress = Clock.seconds()
        FileHandle.standardError.write(Data("        \(done) of \(all) \(what)\n".utf8))
    }

    private func endpoints(ofPeer peer: Int, _ number: Int) -> EnginePair.Connection {
        let peer = UInt32(truncatingIfNeeded: peer)
        return EnginePair.Connection(
            client: Endpoint(address: IPAddress(ipv4: 0x0a00_0000 + peer), port: UInt16(1024 + number % 60_000)),
            server: Endpoint(address: IPAddress(ipv4: 0x1400_0000 + peer), port: UInt16(80 + number / 60_000)),
            keys: size.isMultipath ? (Self.bytes(8), Self.bytes(8)) : nil)
    }

    private func open(peer: Int) throws -> (connection: EnginePair.Connection, cost: EnginePair.Cost) {
        opened += 1
        let connection = endpoints(ofPeer: peer, opened)
        return (connection, try pair.connect(connection))
    }

    /// A connection with a new peer: its keys are fresh, both ends keep a session, and it is gone at once.
    @discardableResult
    private func meet() throws -> Double {
        let (connection, cost) = try open(peer: peers)
        peers += 1
        reset(connection)
        if peers % 100 == 0 { pair.wait(milliseconds: 0) }
        return cost.both
    }

    private func reset(_ connection: EnginePair.Connection) {
        pair.kernelSends(
            pair.client, connection,
            EnginePair.Segment(
                sequence: EnginePair.clientISN + 1, acknowledgment: EnginePair.serverISN + 1, flags: [.rst, .ack]))
    }

    /// Of both engines since it was last asked.
    private func takeLongest() -> Double {
        defer {
            pair.client.longest = 0
            pair.server.longest = 0
        }
        return max(pair.client.longest, pair.server.longest)
    }

    // MARK: - Measurements

    /// A packet, and the one after it: at most one in a while comes to a connection, as to idle ones.
    func packets(_ side: (EnginePair.Cost) -> Double) throws -> [Double] {
        let data = (0..<1400).map { UInt8(truncatingIfNeeded: $0) }
        var result = Result()
        pair.wait(milliseconds: 5000)
        _ = takeLongest()
        for _ in 0..<Self.samples {
            let index = Int.random(in: connections.indices)
            result.another.append(side(try pair.transfer(data, isGSO: false, on: &connections[index]).data))
            result.again.append(side(try pair.transfer(data, isGSO: false, on: &connections[index]).data))
            // One alone shall have been idle, too.
            pair.wait(milliseconds: connections.count > 1 ? 1 : 3000)
        }
        return result.row(takeLongest())
    }

    func resumptions() throws -> [Double] {
        var result = Result()
        _ = takeLongest()
        for _ in 0..<Self.samples {
            let peer = Int.random(in: 0..<peers)
            for again in [false, true] {
                let (connection, cost) = try open(peer: peer)
                if again { result.again.append(cost.both) } else { result.another.append(cost.both) }
                reset(connection)
            }
            pair.wait(milliseconds: 0)
        }
        return result.row(takeLongest())
    }

    /// With peers nobody has met.
    func keyExchanges() throws -> [Double] {
        var result = Result()
        _ = takeLongest()
        for _ in 0..<Self.samples { result.another.append(try meet()) }
        return result.row(takeLongest())
    }

    private static func bytes(_ count: Int) -> [UInt8] { (0..<count).map { _ in UInt8.random(in: 0...255) } }

    /// SYNs of joins that name no connection, or any one without proof.
    func refusals() throws -> [Double] {
        var result = Result()
        let refused = pair.server.engine.counters.joinsRefused
        _ = takeLongest()
        for number in 0..<Self.samples {
            let victim = connections.randomElement()?.keys?.server
            let token = victim.map { Array(crypto.sha256($0.span).prefix(4)) } ?? Self.bytes(4)
            let segment = EnginePair.Segment(
                sequence: UInt32(number), flags: .syn,
                options: EnginePair.synOptions + [30, 12, 0x10, 1] + token + [1, 2, 3, 4])
            let connection = endpoints(ofPeer: 1 << 23 + number, 7)
            let before = pair.server.seconds
            _ = pair.server.handle(
                pair.bytes(segment, connection, from: pair.client), .inbound, isGSO: false, pair.now)
            result.another.append((pair.server.seconds - before) * 1e6)
            pair.wait(milliseconds: 1)
        }
        guard pair.server.engine.counters.joinsRefused == refused + UInt64(Self.samples) else {
            throw BenchError.failed("the joins were not refused")
        }
        return result.row(takeLongest())
    }

    /// Very many connections were busy and become idle at once: each has a deadline, when its memory is given back.
    func deadlines() throws -> [Double] {
        let data = [UInt8](repeating: 1, count: 8000)
        // Those that were reset are gone.
        pair.wait(milliseconds: 10_000)
        let busy = connections.indices.prefix(20_000)
        for index in busy { _ = try pair.transfer(data, isGSO: true, on: &connections[index]) }
        let before = pair.client.seconds
        _ = takeLongest()
        pair.wait(milliseconds: 3000)
        return [.nan, (pair.client.seconds - before) * 1e6 / Double(busy.count), takeLongest() * 1e6]
    }

    /// Every ten seconds: which connections have lost their sockets.
    func reconciliation() -> [Double] {
        let sockets = Set(connections.map { FlowTuple(local: $0.client, remote: $0.server) })
        pair.wait(milliseconds: 100_000)
        _ = takeLongest()
        let before = pair.client.seconds
        let side = pair.client
        side.timed { side.engine.reconcile(sockets: sockets, now: pair.now, into: &side.output) }
        side.output.reset()
        pair.wait(milliseconds: 1)
        return [.nan, (side.seconds - before) * 1e6 / Double(connections.count), takeLongest() * 1e6]
    }

    /// What the control socket asks for, as the daemon does it: in pieces.
    func report(_ body: (borrowing Engine, inout ReportPlace) -> Void) -> [Double] {
        _ = takeLongest()
        let side = pair.client
        let before = side.seconds
        var place = ReportPlace()
        while !place.isEnd { side.timed { body(side.engine, &place) } }
        return [.nan, (side.seconds - before) * 1e6, takeLongest() * 1e6]
    }

    /// A clean stop: all at once, as nothing is to be served any more.
    func stop() -> [Double] {
        _ = takeLongest()
        let side = pair.client
        let before = side.seconds
        side.timed { side.engine.shutDown(now: pair.now, into: &side.output) }
        side.output.reset()
        return [.nan, (side.seconds - before) * 1e6, takeLongest() * 1e6]
    }

    func flush() -> [Double] {
        _ = takeLongest()
        let side = pair.client
        let before = side.seconds
        side.timed { side.engine.flushSessions() }
        pair.wait(milliseconds: 1)
        return [.nan, (side.seconds - before) * 1e6, takeLongest() * 1e6]
    }
}

/// Key pairs that agree on something without arithmetic, until it is switched off: what the secret is makes no difference to the engines.
private final class QuickAgreement: CryptoProvider {
    let isQuick = Atomic(true)
    private let provider = OpenSSLProvider()

    func sha256(_ data: Span<UInt8>) -> [UInt8] { provider.sha256(data) }
    func extract(salt: Span<UInt8>, _ material: Span<UInt8>) -> Secret { provider.extract(salt: salt, material) }
    func expand(_ key: Secret, info: Span<UInt8>, count: Int) -> Secret {
        provider.expand(key, info: info, count: count)
    }
    func aead(_ algorithm: AEADAlgorithm, key: Secret) -> any AEADKey { provider.aead(algorithm, key: key) }
    func keyPair(_ tep: TEP, _ random: any RandomSource) -> any EphemeralKeyPair {
        isQuick.load(ordering: .relaxed) ? QuickPair(publicKey: random.bytes(32)) : provider.keyPair(tep, random)
    }

    private final class QuickPair: EphemeralKeyPair {
        let publicKey: [UInt8]

        init(publicKey: [UInt8]) { self.publicKey = publicKey }

        func agree(with peerKey: Span<UInt8>) -> Secret? {
            let mixed = publicKey.indices.map { publicKey[$0] ^ peerKey[$0] }
            return Secret(copying: mixed.span)
        }
    }
}
