import OpenSSLProvider
import PacketWire
import Tcpcrypt

/// A repeatable generator (SplitMix64).
final class SeededRandom: RandomSource {
    private var state: UInt64

    init(_ seed: UInt64) { state = seed }

    func next() -> UInt64 {
        state &+= 0x9e37_79b9_7f4a_7c15
        var z = state
        z = (z ^ (z >> 30)) &* 0xbf58_476d_1ce4_e5b9
        z = (z ^ (z >> 27)) &* 0x94d0_49bb_1331_11eb
        return z ^ (z >> 31)
    }

    func below(_ limit: Int) -> Int { Int(next() % UInt64(limit)) }

    func bytes(_ count: Int) -> [UInt8] { (0..<count).map { _ in UInt8(truncatingIfNeeded: next()) } }
}

/// Gives what it was told to give, in that order.
final class ScriptedRandom: RandomSource {
    private var script: [[UInt8]]

    init(_ script: [UInt8]...) { self.script = script }

    func bytes(_ count: Int) -> [UInt8] {
        let next = script.isEmpty ? [] : script.removeFirst()
        return next.count == count ? next : [UInt8](repeating: 0, count: count)
    }
}

let provider = OpenSSLProvider()

extension String {
    /// The bytes that this hexadecimal text, spaces allowed, stands for.
    var hex: [UInt8] {
        let digits = compactMap(\.hexDigitValue)
        return stride(from: 0, to: digits.count - 1, by: 2).map { UInt8(digits[$0] << 4 | digits[$0 + 1]) }
    }
}

extension Span<UInt8> {
    var array: [UInt8] { indices.map { self[$0] } }
}

extension Secret {
    var array: [UInt8] { withBytes { $0.array } }
}

extension IPAddress {
    /// 10.0.0.0 plus `number`.
    static func test(_ number: Int) -> IPAddress { IPAddress(ipv4: 0x0a00_0000 + UInt32(number)) }
}

extension Endpoint {
    static func test(_ number: Int, _ port: UInt16 = 80) -> Endpoint { Endpoint(address: .test(number), port: port) }
}

/// Two hosts behind a completed key exchange.
struct Pair {
    let a: ConnectionSecret
    let b: ConnectionSecret

    init(tep: TEP = .curve25519, aead: AEADAlgorithm = .aes128GCM, seed: UInt64 = 1) throws {
        let random = SeededRandom(seed)
        let transcript = random.bytes(9)
        let host = KeyExchangeA(
            tep: tep, aeads: [aead], transcript: transcript, crypto: provider, random: random)
        let reply = try KeyExchangeB(
            init1: host.init1.span, tep: tep, aeads: [aead], transcript: transcript, crypto: provider,
            random: random)
        a = try host.finish(init2: reply.init2.span)
        b = try reply.finish()
    }

    func chains(lookAhead: Int = 16) -> (a: SecretChain, b: SecretChain) {
        (a.sessionChain(provider, lookAhead: lookAhead), b.sessionChain(provider, lookAhead: lookAhead))
    }
}

extension FrameSealer {
    /// A whole frame, or nil where the sealer refuses.
    mutating func frame(
        _ data: [UInt8], urgent: UInt16? = nil, fin: Bool = false, rekey: Bool = false, offset: UInt64
    ) -> [UInt8]? {
        var frame = [UInt8](repeating: 0xee, count: Frame.length(data: data.count, urgent: urgent != nil))
        var target = frame.mutableSpan
        guard seal(data: data.span, urgent: urgent, fin: fin, rekey: rekey, offset: offset, into: &target) else {
            return nil
        }
        return frame
    }
}

extension FrameOpener {
    mutating func data(_ frame: [UInt8], offset: UInt64) -> (opened: OpenedFrame, data: [UInt8])? {
        var plain = [UInt8](repeating: 0xee, count: 70_000)
        var target = plain.mutableSpan
        guard let opened = open(frame.span, offset: offset, into: &target) else { return nil }
        return (opened, Array(plain[0..<opened.dataLength]))
    }
}

// Spans cannot pass through the test macros; arrays can.

extension EphemeralKeyPair {
    func agree(_ peerKey: [UInt8]) -> Secret? { agree(with: peerKey.span) }
}

extension AEADKey {
    func sealed(nonce: [UInt8], aad: [UInt8], head: [UInt8], _ plaintext: [UInt8]) -> [UInt8]? {
        var output = [UInt8](repeating: 0, count: head.count + plaintext.count + 16)
        var target = output.mutableSpan
        let done = seal(
            nonce: nonce.span, aad: aad.span, head: head.span, plaintext: plaintext.span, into: &target)
        return done ? output : nil
    }

    /// What `head` and `output` hold afterwards, authentic or not.
    func opened(
        nonce: [UInt8], aad: [UInt8], headLength: Int, _ ciphertext: [UInt8]
    ) -> (done: Bool, head: [UInt8], output: [UInt8]) {
        var head = [UInt8](repeating: 7, count: headLength)
        var output = [UInt8](repeating: 7, count: max(0, ciphertext.count - 16 - headLength))
        var headSpan = head.mutableSpan
        var outputSpan = output.mutableSpan
        let done = open(
            nonce: nonce.span, aad: aad.span, ciphertext: ciphertext.span, head: &headSpan, into: &outputSpan)
        return (done, head, output)
    }
}

extension ENOOffer {
    func conclude(_ answer: [UInt8]) -> OpenerOutcome { conclude(answer: answer.span) }
}

extension SYNFormENO {
    init(_ option: [UInt8]) throws(ENOFailure) { try self.init(parsing: option.span) }
}

extension Frame {
    static func control(_ bytes: [UInt8]) -> (length: Int, rekey: Bool, reserved: UInt8)? { parseControl(bytes.span) }
}

extension HalfID {
    init?(_ bytes: [UInt8]) { self.init(bytes.span) }
}

/// A sealer as a reference: mutating calls cannot stand inside the test macros.
final class SealingEnd {
    var sealer: FrameSealer

    init(_ sealer: FrameSealer) { self.sealer = sealer }

    var generation: Int { sealer.generation }

    func frame(
        _ data: [UInt8], urgent: UInt16? = nil, fin: Bool = false, rekey: Bool = false, offset: UInt64
    ) -> [UInt8]? {
        sealer.frame(data, urgent: urgent, fin: fin, rekey: rekey, offset: offset)
    }
}

final class OpeningEnd {
    var opener: FrameOpener

    init(_ opener: FrameOpener) { self.opener = opener }

    var generation: Int { opener.generation }

    func data(_ frame: [UInt8], offset: UInt64) -> (opened: OpenedFrame, data: [UInt8])? {
        opener.data(frame, offset: offset)
    }
}

extension ConnectionSecret {
    var ends: (sealer: SealingEnd, opener: OpeningEnd) {
        let streams = streams(provider)
        return (SealingEnd(streams.sealer), OpeningEnd(streams.opener))
    }
}
