import OpenSSLProvider
import PacketWire
import Synchronization
import Tcpcrypt
import TestSupport
import Testing

/// Agreement with the second implementation, Scripts/verify-vectors.py.
@Suite struct GoldenTests {
    /// Every TEP with every AEAD, each fresh, resumed by either host and joined by either.
    @Test func allAreThere() {
        let pairs = Set(GoldenSession.all.map { [UInt16($0.tep), $0.aead] })
        #expect(pairs.count == TEP.allCases.count * AEADAlgorithm.allCases.count)
        for golden in GoldenSession.all {
            #expect(golden.resumptions.map(\.openerRole) == ["A", "B"] && golden.joins.map(\.opener) == ["A", "B"])
            for frames in [golden.frames] + golden.resumptions.map(\.frames) + golden.joins.map(\.connection.frames) {
                #expect(Set(frames.map { "\($0.sender)\($0.generation)" }).count == 6)
                let lengths = Set(frames.compactMap { $0.signals?.hex.count })
                #expect(lengths.isEmpty != TEP(rawValue: golden.tep)?.protectsSignals)
                #expect(lengths.isEmpty || lengths.isSuperset(of: [0, 40]))
            }
        }
    }

    /// RFC 8548 sections 3.3, 3.4, 4.1.
    @Test(arguments: GoldenSession.all)
    func keyExchange(_ golden: GoldenSession) throws {
        let (a, b) = try golden.exchange()
        for end in [a, b] {
            #expect(end.secret.array == golden.prk.hex)
            #expect(end.sessionID(provider) == golden.sessionID.hex)
            #expect(end.aead.rawValue == golden.aead)
            #expect(!end.resumed && end.index == 0)
        }
        try check(golden.frames, golden.keys, a, b)
    }

    /// The shared secret ES, from each side's private key (RFC 8548 section 3.3).
    @Test(arguments: GoldenSession.all)
    func agreement(_ golden: GoldenSession) throws {
        let tep = try #require(TEP(rawValue: golden.tep))
        let pairs = [golden.privateA, golden.privateB].map { provider.keyPair(tep, ScriptedRandom($0.hex)) }
        for (own, other) in [(pairs[0], pairs[1]), (pairs[1], pairs[0])] {
            #expect(own.agree(other.publicKey)?.array == golden.sharedSecret.hex)
        }
    }

    /// RFC 8548 sections 3.6 to 3.8: the same keys, the same frames, and each end opens the other's.
    private func check(
        _ frames: [GoldenSession.GoldenFrame], _ keys: [GoldenSession.Keys], _ a: ConnectionSecret,
        _ b: ConnectionSecret
    ) throws {
        let derived = DerivedKeys()
        defer {
            for generation in keys {
                #expect(derived.contains(generation.master))
                #expect(derived.contains(generation.keyA + generation.randomizerA))
                #expect(derived.contains(generation.keyB + generation.randomizerB))
            }
        }
        var (fromA, toA) = a.streams(derived)
        var (fromB, toB) = b.streams(derived)
        for frame in frames {
            let bytes = frame.frame.hex
            var sealer = frame.sender == "A" ? fromA : fromB
            var opener = frame.sender == "A" ? toB : toA
            let sealed = sealer.frame(
                frame.data.hex, urgent: frame.urgent, fin: frame.fin, rekey: frame.rekey,
                signals: frame.signals?.hex ?? [], offset: frame.offset)
            #expect(sealed == bytes)
            let opened = opener.data(bytes, offset: frame.offset)
            let result = try #require(opened)
            #expect(result.data == frame.data.hex)
            #expect(result.opened.urgent == frame.urgent)
            #expect(result.opened.fin == frame.fin)
            #expect(result.opened.signalBytes == frame.signals?.hex ?? [])
            #expect(result.opened.lead + result.data.count + 16 == bytes.count)
            #expect(result.opened.rekey == frame.rekey)
            #expect(sealer.generation == frame.generation && opener.generation == frame.generation)
            if frame.sender == "A" { (fromA, toB) = (sealer, opener) } else { (fromB, toA) = (sealer, opener) }
        }
    }

    /// RFC 8548 section 3.5.
    @Test(arguments: GoldenSession.all)
    func resumption(_ golden: GoldenSession) throws {
        let (a, b) = try golden.exchange()
        let chains = (
            a: a.sessionChain(provider, lookAhead: 4), b: b.sessionChain(provider, lookAhead: 4)
        )
        for (index, expected) in golden.resumptions.enumerated() {
            try resume(expected, golden.chain[index], chains.a, chains.b)
        }
        #expect(chains.a.nextIndex == golden.resumptions.count + 1)
    }

    /// The article JoinChains.
    @Test(arguments: GoldenSession.all)
    func join(_ golden: GoldenSession) throws {
        let (a, b) = try golden.exchange()
        for expected in golden.joins {
            let chain = { (end: ConnectionSecret, local: Role) throws in
                end.joinChain(
                    provider, opener: try #require(Role(rawValue: expected.opener)), localRole: local,
                    tokenA: golden.tokenA.hex.span.loadUInt32(at: 0), tokenB: golden.tokenB.hex.span.loadUInt32(at: 0),
                    lookAhead: 8, limit: 100)
            }
            let (chainA, chainB) = (try chain(a, .a), try chain(b, .b))
            let opening = expected.opener == "A" ? chainA : chainB
            let first = try #require(opening.propose())
            #expect(first.secret.array == expected.chain[0].secret.hex)
            try resume(expected.connection, expected.chain[1], chainA, chainB)
        }
    }

    /// One resumed connection, from SYN to frames, against the recording.
    private func resume(
        _ expected: GoldenSession.Resumption, _ link: GoldenSession.Link, _ chainA: SecretChain, _ chainB: SecretChain
    ) throws {
        let isA = expected.openerRole == "A"
        let (opening, accepting) = isA ? (chainA, chainB) : (chainB, chainA)
        let (ours, theirs) =
            isA ? (expected.nonceA.hex, expected.nonceB.hex) : (expected.nonceB.hex, expected.nonceA.hex)
        let entry = try #require(opening.propose())
        #expect(entry.index == link.index)
        #expect(entry.secret.array == link.secret.hex)
        #expect(entry.id.a.bytes + entry.id.b.bytes == link.resume.hex)

        let offer = ENOOffer.resuming(entry, of: opening, nonce: ours)
        #expect(offer.option == expected.syn.hex)
        let outcome = ENOAnswer.answer(to: offer.option.span, teps: [opening.tep]) { half, tep, nonce in
            #expect(tep == opening.tep && nonce == ours)
            return accepting.find(half).map { ResumptionMatch(chain: accepting, entry: $0, nonce: theirs) }
        }
        guard case .resumed(let match, let peerNonce, let option, let transcript) = outcome else {
            Issue.record("not resumed: \(outcome)")
            return
        }
        #expect(option == expected.synAck.hex && peerNonce == ours)
        #expect(transcript == expected.syn.hex + expected.synAck.hex)
        #expect(offer.conclude(option) == .resumed(peerNonce: theirs, transcript: transcript))
        #expect(accepting.spend(match.entry.index))

        let active = ConnectionSecret(
            resuming: entry, of: opening,
            sessionNonce: ConnectionSecret.sessionNonce(of: opening, local: ours, peer: theirs) + expected.extra.hex)
        let passive = ConnectionSecret(
            resuming: match.entry, of: accepting,
            sessionNonce: ConnectionSecret.sessionNonce(of: accepting, local: theirs, peer: ours) + expected.extra.hex)
        #expect(active.sessionID(provider) == expected.sessionID.hex)
        #expect(passive.sessionID(provider) == expected.sessionID.hex)
        try check(expected.frames, expected.keys, isA ? active : passive, isA ? passive : active)
    }
}

extension GoldenSession {
    /// Both hosts of the recorded key exchange.
    func exchange() throws -> (a: ConnectionSecret, b: ConnectionSecret) {
        let tep = try #require(TEP(rawValue: tep))
        let aead = try #require(AEADAlgorithm(rawValue: aead))
        let transcript = syn.hex + synAck.hex
        let host = KeyExchangeA(
            tep: tep, aeads: offered.compactMap(AEADAlgorithm.init), transcript: transcript,
            crypto: provider, random: ScriptedRandom(nonceA.hex, privateA.hex))
        #expect(host.init1 == init1.hex)
        let reply = try KeyExchangeB(
            init1: host.init1.span, tep: tep, aeads: [aead] + AEADAlgorithm.allCases, transcript: transcript,
            crypto: provider, random: ScriptedRandom(nonceB.hex, privateB.hex))
        #expect(reply.init2 == init2.hex)
        return (try host.finish(init2: reply.init2.span), try reply.finish())
    }
}

/// Remembers what was derived: keys have no other way out.
private final class DerivedKeys: ForwardingProvider {
    let base: any CryptoProvider = provider
    private let outputs = Mutex<Set<[UInt8]>>([])

    func contains(_ hexadecimal: String) -> Bool { outputs.withLock { $0.contains(hexadecimal.hex) } }

    func expand(_ key: Secret, info: Span<UInt8>, count: Int) -> Secret {
        let output = base.expand(key, info: info, count: count)
        let bytes = output.array
        outputs.withLock { _ = $0.insert(bytes) }
        return output
    }
}
