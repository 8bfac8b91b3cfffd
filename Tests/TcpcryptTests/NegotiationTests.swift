import Testing

@testable import Tcpcrypt

/// Both sides of the TCP-ENO negotiation (RFC 8547 sections 4.3 to 4.8, RFC 8548 sections 3.2 and 3.5).
@Suite struct NegotiationTests {
    private func answer(_ option: [UInt8], _ teps: [TEP]) -> PassiveOutcome {
        ENOAnswer.answer(to: option.span, teps: teps, resume: { _, _, _ in nil })
    }

    // MARK: Fresh

    @Test func fresh() {
        let offer = ENOOffer.fresh(teps: [.p256, .curve25519])
        #expect(offer.option == "45 04 21 23".hex)
        guard case .fresh(let tep, let option, let transcript) = answer(offer.option, [.curve25519, .p256]) else {
            Issue.record("no answer")
            return
        }
        #expect(tep == .curve25519 && option == "45 04 01 23".hex && transcript == "45 04 21 23 45 04 01 23".hex)
        #expect(offer.conclude(option) == .fresh(.curve25519, transcript: transcript))
    }

    /// Bit a of RFC 8547 section 4.2 goes out in both directions and changes nothing else.
    @Test func applicationAware() throws {
        let offer = ENOOffer.fresh(teps: [.curve25519], applicationAware: .on)
        #expect(offer.option == "45 04 02 23".hex)
        let outcome = ENOAnswer.answer(
            to: offer.option.span, teps: [.curve25519], applicationAware: .on, resume: { _, _, _ in nil })
        guard case .fresh(.curve25519, let option, let transcript) = outcome else {
            Issue.record("no answer")
            return
        }
        #expect(option == "45 04 03 23".hex)
        #expect(try SYNFormENO(option).isApplicationAware && SYNFormENO(offer.option).isApplicationAware)
        #expect(offer.conclude(option) == .fresh(.curve25519, transcript: transcript))
    }

    struct Fallback: Sendable, CustomTestStringConvertible {
        let testDescription: String
        let option: String
        let failure: ENOFailure
    }

    static let acceptorCases: [Fallback] = [
        .init(testDescription: "vacuous", option: "45 02", failure: .vacuous),
        .init(testDescription: "vacuous with global", option: "45 03 00", failure: .vacuous),
        .init(testDescription: "both are B", option: "45 04 01 23", failure: .roleConflict),
        .init(testDescription: "ill-formed", option: "45 04 80 23", failure: .illFormed),
        .init(testDescription: "unknown TEP", option: "45 03 20", failure: .noCommonTEP),
        .init(testDescription: "TEP not enabled", option: "45 03 22", failure: .noCommonTEP),
        .init(testDescription: "repeated TEP (4.5, 3)", option: "45 04 23 23", failure: .noCommonTEP),
        .init(
            testDescription: "nonce of 9 bytes", option: "45 15 a3 000102030405060708 000102030405060708",
            failure: .noCommonTEP),
    ]

    @Test(arguments: acceptorCases)
    func acceptorFallsBack(_ test: Fallback) {
        guard case .disabled(let failure) = answer(test.option.hex, [.curve25519, .p256]) else {
            Issue.record("answered")
            return
        }
        #expect(failure == test.failure)
    }

    /// The opener offered `45 04 21 23`.
    static let openerCases: [Fallback] = [
        .init(testDescription: "vacuous", option: "45 03 01", failure: .vacuous),
        .init(testDescription: "echo", option: "45 04 21 23", failure: .echoed),
        .init(testDescription: "both are A", option: "45 03 23", failure: .roleConflict),
        .init(testDescription: "both are A, empty", option: "45 02", failure: .roleConflict),
        .init(testDescription: "ill-formed", option: "45 05 01 9f a3", failure: .illFormed),
        .init(testDescription: "never offered", option: "45 04 01 22", failure: .noCommonTEP),
        .init(testDescription: "unknown", option: "45 04 01 7f", failure: .noCommonTEP),
        .init(testDescription: "repeated", option: "45 05 01 23 23", failure: .noCommonTEP),
        .init(
            testDescription: "resumption nobody offered", option: "45 0d 01 a3 000102030405060708",
            failure: .badResumption),
        .init(testDescription: "short data", option: "45 05 01 a3 00", failure: .badResumption),
    ]

    @Test(arguments: openerCases)
    func openerFallsBack(_ test: Fallback) {
        #expect(ENOOffer.fresh(teps: [.p256, .curve25519]).conclude(test.option.hex) == .disabled(test.failure))
    }

    /// The last valid TEP of host B counts, and its reserved bits do not (RFC 8547 sections 4.2, 4.5).
    @Test(arguments: [
        ("45 06 01 23 21 7f", TEP.p256), ("45 05 21 01 23", .curve25519), ("45 04 1f 23", .curve25519),
        ("45 07 01 23 21 22 20", .p256), ("45 06 01 23 a1 00", .curve25519),
    ])
    func lastValidTEP(_ option: String, _ tep: TEP) {
        let offer = ENOOffer.fresh(teps: [.p256, .curve25519])
        #expect(offer.conclude(option.hex) == .fresh(tep, transcript: offer.option + option.hex))
    }

    /// A host that reads v = 1 with less than 9 bytes as v = 0 (RFC 8548 section 3.5).
    @Test func shortResumptionIsFresh() {
        guard case .fresh(.curve25519, let option, _) = answer("45 05 a3 00 01".hex, [.curve25519]) else {
            Issue.record("no answer")
            return
        }
        #expect(option == "45 04 01 23".hex)
    }

    // MARK: Resumption

    /// Whoever was A before, and whoever opens now.
    @Test(arguments: [true, false], [0, 2, 7, 8])
    func resumption(openerWasA: Bool, nonceLength: Int) throws {
        let (a, b) = try Pair().chains()
        let (opening, accepting) = openerWasA ? (a, b) : (b, a)
        let ours = [UInt8](repeating: 0xa0, count: nonceLength)
        let entry = try #require(opening.propose())
        let offer = ENOOffer.resuming(entry, of: opening, nonce: ours)
        #expect(offer.option.count == 12 + nonceLength)
        let outcome = ENOAnswer.answer(to: offer.option.span, teps: [.curve25519]) { half, _, nonce in
            #expect(nonce == ours)
            return accepting.find(half).map { ResumptionMatch(chain: accepting, entry: $0, nonce: [1, 2]) }
        }
        guard case .resumed(let match, ours, let option, let transcript) = outcome else {
            Issue.record("not resumed")
            return
        }
        #expect(option.count == 13 + 2)
        #expect(match.entry.secret.matches(entry.secret))
        #expect(offer.conclude(option) == .resumed(peerNonce: [1, 2], transcript: transcript))
    }

    /// An acceptor that does not know the secret asks for fresh keys with the same TEP, or takes another offer.
    @Test func unknownSecret() throws {
        let (a, _) = try Pair().chains()
        let entry = try #require(a.propose())
        let offer = ENOOffer.resuming(entry, of: a, nonce: [], alsoFresh: [.p256, .curve25519])
        #expect(offer.option.prefix(4) == [69, 13, 0x21, 0xa3])
        for tep in [TEP.curve25519, .p256] {
            guard case .fresh(tep, let option, let transcript) = answer(offer.option, [tep]) else {
                Issue.record("no answer")
                continue
            }
            #expect(offer.conclude(option) == .fresh(tep, transcript: transcript))
        }
    }

    /// The wrong half is ignored: alone it ends ENO, beside a fresh TEP it leaves that (RFC 8548 section 3.5).
    @Test func wrongHalf() throws {
        let (a, _) = try Pair().chains()
        let entry = try #require(a.propose())
        let offer = ENOOffer.resuming(entry, of: a, nonce: [], alsoFresh: [.p256])
        let own = [69, 13, 1, 0xa3] + entry.id.a.bytes
        #expect(offer.conclude(own) == .disabled(.badResumption))
        var wrong = entry.id.b.bytes
        wrong[8] ^= 1
        #expect(offer.conclude([69, 13, 1, 0xa3] + wrong) == .disabled(.badResumption))
        let both = [69, 14, 1, 0x21, 0xa3] + wrong
        #expect(offer.conclude(both) == .fresh(.p256, transcript: offer.option + both))
        // The right half under another TEP, and with a nonce that is too long.
        #expect(offer.conclude([69, 13, 1, 0xa1] + entry.id.b.bytes) == .disabled(.badResumption))
        let long = [69, 22, 1, 0xa3] + entry.id.b.bytes + [UInt8](repeating: 0, count: 9)
        #expect(offer.conclude(long) == .disabled(.badResumption))
    }

    /// A TEP we do not enable, or one repeated, is never resumed.
    @Test func resumeIsNotAsked() {
        let half = "000102030405060708"
        for option in ["45 0c a1 \(half)", "45 0c a2 \(half)", "45 0d 23 a3 \(half)", "45 0d 01 a3 \(half)"] {
            _ = ENOAnswer.answer(to: option.hex.span, teps: [.curve25519]) { _, _, _ in
                Issue.record("asked for \(option)")
                return nil
            }
        }
    }

    /// Neither side traps on anything.
    @Test func fuzz() throws {
        let (a, b) = try Pair().chains()
        let offer = ENOOffer.resuming(try #require(a.propose()), of: a, nonce: [1, 2, 3], alsoFresh: [.p256])
        let random = SeededRandom(13)
        for _ in 0..<20_000 {
            var option = random.below(2) == 0 ? offer.option : random.bytes(2 + random.below(39))
            for _ in 0..<random.below(4) { option[random.below(option.count)] = UInt8(random.below(256)) }
            if random.below(4) > 0 { (option[0], option[1]) = (69, UInt8(option.count)) }
            _ = offer.conclude(option)
            _ = ENOAnswer.answer(to: option.span, teps: TEP.allCases) { half, _, _ in
                b.find(half).map { ResumptionMatch(chain: b, entry: $0, nonce: []) }
            }
        }
    }
}
