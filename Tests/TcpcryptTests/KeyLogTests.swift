import PacketWire
import Synchronization
import Testing

@testable import Tcpcrypt

/// What it was given, as text.
final class RecordedKeyLog: KeyLog {
    private let recorded = Mutex<[String]>([])

    var lines: [String] { recorded.withLock { $0 } }

    func append(_ line: Span<UInt8>) {
        let text = String(decoding: line.array, as: UTF8.self)
        recorded.withLock { $0.append(text) }
    }
}

/// The article KeyLogging.
@Suite struct KeyLogTests {
    /// The fields behind the label.
    private func fields(_ end: ConnectionSecret, _ label: String) throws -> [String] {
        let log = RecordedKeyLog()
        end.record(in: log, provider)
        let line = try #require(log.lines.first)
        #expect(log.lines.count == 1 && line.hasSuffix("\n") && line.filter { $0 == "\n" }.count == 1)
        let words = line.dropLast().split(separator: " ", omittingEmptySubsequences: false).map(String.init)
        #expect(words.count == 6 && words[0] == label)
        #expect(words.dropFirst().joined().allSatisfy { "0123456789abcdef-".contains($0) })
        return Array(words.dropFirst())
    }

    /// Whoever has mk[0] of the line opens all recorded frames, those of later generations too. Whether they have signals says the
    /// TEP in the session ID.
    private func expectReads(
        _ frames: [GoldenSession.GoldenFrame], master: String, sessionID: String, _ aead: AEADAlgorithm
    ) throws {
        let tep = try #require(sessionID.hex.first.flatMap { TEP(rawValue: $0 & 0x7f) })
        for sender in Role.allCases {
            var opener = FrameOpener(
                TrafficKey(
                    master: Secret(copying: master.hex.span), generation: 0, sender: sender, algorithm: aead,
                    crypto: provider),
                readsSignals: tep.protectsSignals)
            let theirs = frames.filter { $0.sender == sender.rawValue }
            #expect(theirs.contains { $0.generation > 0 })
            for frame in theirs {
                let opened = opener.data(frame.frame.hex, offset: frame.offset)
                #expect(try #require(opened).data == frame.data.hex)
            }
        }
    }

    @Test(arguments: GoldenSession.all)
    func ofKeyExchanges(_ golden: GoldenSession) throws {
        for end in [try golden.exchange().a, try golden.exchange().b] {
            let fields = try fields(end, "TCPCRYPT_FRESH")
            #expect(fields[0].hex == golden.nonceA.hex && fields[1].hex == golden.nonceB.hex)
            #expect(UInt16(fields[2], radix: 16) == golden.aead && fields[2].count == 4)
            #expect(fields[4].hex == golden.sessionID.hex)
            try expectReads(golden.frames, master: fields[3], sessionID: fields[4], end.aead)
        }
    }

    @Test(arguments: GoldenSession.all)
    func ofResumedConnections(_ golden: GoldenSession) throws {
        let chain = try golden.exchange().a.sessionChain(provider, lookAhead: 4)
        for (index, expected) in golden.resumptions.enumerated() {
            try check(expected, golden.chain[index], chain)
        }
    }

    @Test(arguments: GoldenSession.all)
    func ofJoins(_ golden: GoldenSession) throws {
        for expected in golden.joins {
            let chain = try golden.exchange().b.joinChain(
                provider, opener: try #require(Role(rawValue: expected.opener)), localRole: .b,
                tokenA: golden.tokenA.hex.span.loadUInt32(at: 0), tokenB: golden.tokenB.hex.span.loadUInt32(at: 0),
                lookAhead: 8, limit: 100)
            _ = chain.propose()
            try check(expected.connection, expected.chain[1], chain)
        }
    }

    private func check(
        _ expected: GoldenSession.Resumption, _ link: GoldenSession.Link, _ chain: SecretChain
    ) throws {
        let nonce = expected.nonceA.hex + expected.nonceB.hex + expected.extra.hex
        let entry = try #require(chain.propose())
        let end = ConnectionSecret(resuming: entry, of: chain, sessionNonce: nonce)
        let fields = try fields(end, "TCPCRYPT_RESUMED")
        #expect(fields[0].hex == link.resume.hex && fields[1].hex == nonce)
        #expect(fields[4].hex == expected.sessionID.hex)
        try expectReads(expected.frames, master: fields[3], sessionID: fields[4], end.aead)
    }

    @Test func anEmptySessionNonceIsADash() throws {
        let chain = try Pair().a.sessionChain(provider, lookAhead: 4)
        let entry = try #require(chain.propose())
        let end = ConnectionSecret(resuming: entry, of: chain, sessionNonce: [])
        #expect(try fields(end, "TCPCRYPT_RESUMED")[1] == "-")
    }
}
