import Foundation
import OpenSSLProvider
import PacketWire
import Tcpcrypt

/// Where the time goes: what the engines do, and what that is made of, on one core and in memory.
extension TableSpecification {
    static let parts = TableSpecification(
        name: "parts", title: "The engines in memory, and their parts",
        note:
            "One core, medians. A super-packet is one of 45 segments, as Linux makes them of a stream; the queues are not in it.",
        metrics: [Metric(name: "us each", unit: "µs", isBetterHigh: false, digits: 2)],
        references: [], relation: .difference,
        rows: [
            part("copy 64,260 bytes", copy), part("checksum of 64,260 bytes", checksum),
            part("AES-128-GCM, 64,260 bytes sealed in frames") { try seal() },
            part("super-packet, sender's engine") { try packets(superPacket, isGSO: true) { $0.data.client } },
            part("super-packet, receiver's engine") { try packets(superPacket, isGSO: true) { $0.data.server } },
            part("packet of 1,400 bytes, sender's engine") { try packets(1400, isGSO: false) { $0.data.client } },
            part("packet of 1,400 bytes, receiver's engine") { try packets(1400, isGSO: false) { $0.data.server } },
            part("acknowledgement, both engines") { try packets(1400, isGSO: false) { $0.acknowledgement.both } },
            part("X25519 key pair", keyPair), part("X25519 agreement", agreement),
            part("connection with fresh keys, both engines") { try connections(resumption: false) },
            part("connection resumed, both engines") { try connections(resumption: true) },
            part("MPTCP connection resumed, both engines") {
                try multipath { pair, _ in try pair.connect(keys: (bytes(8), bytes(8))).both }
            },
            part("join, both engines") { try multipath { try $0.connect(token: token(of: $1.server)).both } },
            part("join refused, unknown token") {
                try multipath { pair, _ in try pair.refuse(token: bytes(4), proof: []) }
            },
            part("join refused, known token, made-up proof") { try madeUpProof(again: true) },
            part("the first of these for a connection") { try madeUpProof(again: false) },
        ])

    private static let superPacket = 64_260
    private static let frame = 14_000

    private static func part(_ name: String, _ measure: @escaping @Sendable () throws -> Double) -> RowSpecification {
        RowSpecification(name: name) { _ in [try measure()] }
    }

    /// Median microseconds of `body`.
    private static func median(_ count: Int = 2000, _ body: () throws -> Void) rethrows -> Double {
        var times: [Double] = []
        for _ in 0..<count {
            let start = Clock.seconds()
            try body()
            times.append((Clock.seconds() - start) * 1e6)
        }
        return times.median ?? .nan
    }

    private static func packets(
        _ length: Int, isGSO: Bool, _ cost: ((data: EnginePair.Cost, acknowledgement: EnginePair.Cost)) -> Double
    ) throws -> Double {
        let pair = EnginePair(resumption: false)
        _ = try pair.connect()
        pair.openWindow()
        let data = (0..<length).map { UInt8(truncatingIfNeeded: $0) }
        return try (0..<2000).map { _ in cost(try pair.transfer(data, isGSO: isGSO)) }.median ?? .nan
    }

    private static func connections(resumption: Bool) throws -> Double {
        let pair = EnginePair(resumption: resumption)
        _ = try pair.connect()
        return try (0..<300).map { _ in try pair.connect().both }.median ?? .nan
    }

    private static func bytes(_ count: Int) -> [UInt8] { (0..<count).map { _ in UInt8.random(in: 0...255) } }

    /// The MPTCP token of a key's owner.
    private static func token(of key: [UInt8]) -> [UInt8] { Array(OpenSSLProvider().sha256(key.span).prefix(4)) }

    /// What `cost` says, each time beside a new MPTCP connection with these keys.
    private static func multipath(
        _ cost: (EnginePair, (client: [UInt8], server: [UInt8])) throws -> Double
    ) throws -> Double {
        let pair = EnginePair(resumption: true)
        _ = try pair.connect()
        return try (0..<300).map { _ in
            let keys = (client: bytes(8), server: bytes(8))
            _ = try pair.connect(keys: keys)
            return try cost(pair, keys)
        }.median ?? .nan
    }

    /// The first one has the acceptor derive all names that it looks ahead to.
    private static func madeUpProof(again: Bool) throws -> Double {
        try multipath { pair, keys in
            let refuse = { try pair.refuse(token: token(of: keys.server), proof: [69, 19, 0xa3] + bytes(16)) }
            let first = try refuse()
            return again ? try refuse() : first
        }
    }

    @Sendable private static func copy() -> Double {
        let source = [UInt8](repeating: 1, count: superPacket)
        var target = [UInt8](repeating: 0, count: superPacket)
        return median {
            var span = target.mutableSpan
            span.copy(source.span, at: 0)
        }
    }

    @Sendable private static func checksum() -> Double {
        let source = [UInt8](repeating: 1, count: superPacket)
        var last: UInt16 = 0
        let time = median {
            var sum = Checksum()
            sum.add(source.span)
            last &+= sum.value
        }
        return last == 1 ? .nan : time
    }

    private static func seal() throws -> Double {
        let provider = OpenSSLProvider()
        let key = provider.aead(.aes128GCM, key: Secret(copying: [UInt8](repeating: 7, count: 16).span))
        let data = [UInt8](repeating: 1, count: superPacket)
        var output = [UInt8](repeating: 0, count: superPacket + 16)
        var number: UInt64 = 0
        return try median {
            var done = 0
            while done < data.count {
                let end = min(data.count, done + frame)
                number += 1
                let nonce = (0..<12).map { UInt8(truncatingIfNeeded: number >> UInt64(max(0, 56 - $0 * 8))) }
                var target = output.mutableSpan
                guard
                    key.seal(
                        nonce: nonce.span, aad: nonce.span.extracting(0..<3), head: nonce.span.extracting(0..<1),
                        plaintext: data.span.extracting(done..<end), into: &target)
                else { throw BenchError.failed("no AES-GCM") }
                done = end
            }
        }
    }

    @Sendable private static func keyPair() -> Double {
        let provider = OpenSSLProvider()
        let random = SystemRandom()
        return median(500) { _ = provider.keyPair(.curve25519, random) }
    }

    @Sendable private static func agreement() -> Double {
        let provider = OpenSSLProvider()
        let random = SystemRandom()
        let mine = provider.keyPair(.curve25519, random)
        let peer = provider.keyPair(.curve25519, random).publicKey
        return median(500) { _ = mine.agree(with: peer.span) }
    }
}
