import Testing

@testable import Tcpcrypt

/// Init1, Init2 and the exchange (RFC 8548 sections 3.3 and 4.1).
@Suite struct KeyExchangeTests {
    private let transcript = "45 03 23 45 04 01 23".hex

    private func host(_ tep: TEP = .curve25519, _ aeads: [AEADAlgorithm] = AEADAlgorithm.allCases) -> KeyExchangeA {
        KeyExchangeA(tep: tep, aeads: aeads, transcript: transcript, crypto: provider, random: SeededRandom(1))
    }

    private func respond(
        _ init1: [UInt8], _ tep: TEP = .curve25519, _ aeads: [AEADAlgorithm] = [.chacha20Poly1305, .aes128GCM],
        transcript other: [UInt8]? = nil
    ) -> Result<(init2: [UInt8], secret: ConnectionSecret), KeyExchangeError> {
        do throws(KeyExchangeError) {
            let exchange = try KeyExchangeB(
                init1: init1.span, tep: tep, aeads: aeads, transcript: other ?? transcript, crypto: provider,
                random: SeededRandom(2))
            return .success((exchange.init2, try exchange.finish()))
        } catch {
            return .failure(error)
        }
    }

    private func failure(_ init1: [UInt8]) -> KeyExchangeError? {
        if case .failure(let error) = respond(init1) { return error }
        return nil
    }

    private func failure(_ host: KeyExchangeA, _ init2: [UInt8]) -> KeyExchangeError? {
        do throws(KeyExchangeError) {
            _ = try host.finish(init2: init2.span)
            return nil
        } catch {
            return error
        }
    }

    @Test(arguments: TEP.allCases)
    func exchange(_ tep: TEP) throws {
        let host = host(tep)
        let reply = try respond(host.init1, tep).get()
        let secret = try host.finish(init2: reply.init2.span)
        #expect(secret.secret.matches(reply.secret.secret))
        #expect(secret.aead == .chacha20Poly1305 && reply.secret.aead == .chacha20Poly1305)
        #expect(secret.keyRole == .a && reply.secret.keyRole == .b)
        #expect(secret.sessionID(provider) == reply.secret.sessionID(provider))
        #expect(secret.sessionID(provider).first == tep.rawValue)
        #expect(Init1.lengths(host.init1) == host.init1.count)
        #expect(Init2.lengths(reply.init2) == reply.init2.count)
    }

    /// Both ends, if their options were tampered with, have different keys (RFC 8547 section 4.8).
    @Test func transcriptMatters() throws {
        let host = host()
        let reply = try respond(host.init1, transcript: transcript + [0]).get()
        #expect(!(try host.finish(init2: reply.init2.span)).secret.matches(reply.secret.secret))
    }

    @Test func everyTruncation() throws {
        let host = host()
        let init2 = try respond(host.init1).get().init2
        for length in 0..<host.init1.count { #expect(failure(Array(host.init1[0..<length])) == .malformed) }
        for length in 0..<init2.count { #expect(failure(host, Array(init2[0..<length])) == .malformed) }
        // Truncated with a length that agrees.
        for length in 8..<host.init1.count {
            #expect(failure(Array(host.init1[0..<length]).with(length: length)) == .malformed)
        }
        for length in 8..<init2.count {
            #expect(failure(host, Array(init2[0..<length]).with(length: length)) == .malformed)
        }
    }

    /// What follows the public key is ignored, but part of the transcript of the exchange (4.1).
    @Test func ignoredBytes() throws {
        let long = host().init1 + [1, 2, 3]
        let init1 = long.with(length: long.count)
        let reply = try respond(init1).get()
        let plain = try respond(host().init1).get()
        #expect(!reply.secret.secret.matches(plain.secret.secret))
        // Bytes behind message_len belong to the next message.
        let followed = try respond(init1 + [9, 9]).get()
        #expect(followed.secret.secret.matches(reply.secret.secret))
        let init2 = (plain.init2 + [7]).with(length: plain.init2.count + 1)
        _ = try host().finish(init2: init2.span)
    }

    @Test func messageLength() throws {
        let init1 = host().init1
        for length in 0..<8 { #expect(Init1.lengths(Array(init1[0..<length])) == nil) }
        #expect(Init1.lengths(Array(init1[0..<8])) == init1.count)
        for length in [0, 8, 72, 16_385, 0x7fff_ffff, 0xffff_ffff] {
            #expect(throws: KeyExchangeError.malformed) { try Init1.total(init1.with(length: length)) }
            #expect(throws: KeyExchangeError.malformed) { try Init2.total(init1.with(length: length)) }
        }
        // A wrong magic number shows with its first wrong byte.
        #expect(throws: KeyExchangeError.malformed) { try Init1.total([0x15, 0x11]) }
        #expect(throws: KeyExchangeError.malformed) { try Init2.total([0x15]) }
    }

    @Test func ciphers() throws {
        guard case .failure(.noCommonAEAD) = respond(host(.curve25519, [.aes256GCM]).init1) else {
            Issue.record("agreed on nothing")
            return
        }
        guard case .failure(.noCommonAEAD) = respond(host(.curve25519, []).init1) else {
            Issue.record("agreed on nothing")
            return
        }
        let narrow = host(.curve25519, [.aes128GCM])
        var init2 = try respond(narrow.init1).get().init2
        #expect(failure(narrow, init2) == nil)
        init2[9] = 0x02
        #expect(failure(narrow, init2) == .unofferedAEAD)
        init2[8] = 0x77
        #expect(failure(narrow, init2) == .unofferedAEAD)
    }

    @Test func badPublicKeys() throws {
        let host = host()
        var init1 = host.init1
        init1.replaceSubrange(init1.count - 32..<init1.count, with: repeatElement(0, count: 32))
        #expect(failure(init1) == .badPublicKey)
        var init2 = try respond(host.init1).get().init2
        init2.replaceSubrange(init2.count - 32..<init2.count, with: repeatElement(0, count: 32))
        #expect(failure(host, init2) == .badPublicKey)
    }

    @Test(arguments: TEP.allCases)
    func fuzz(_ tep: TEP) throws {
        let host = host(tep)
        let init2 = try respond(host.init1, tep).get().init2
        let random = SeededRandom(UInt64(tep.rawValue))
        for _ in 0..<300 {
            var one = host.init1
            var two = init2
            for _ in 0...random.below(3) {
                one[random.below(min(one.count, 12))] = UInt8(random.below(256))
                two[random.below(two.count)] ^= UInt8(1 << random.below(8))
            }
            _ = respond(one, tep)
            _ = failure(host, two)
        }
    }
}

extension Init1 {
    static func total(_ prefix: [UInt8]) throws(KeyExchangeError) -> Int? { try messageLength(prefix: prefix.span) }
    static func lengths(_ prefix: [UInt8]) -> Int? { (try? total(prefix)) ?? nil }
}

extension Init2 {
    static func total(_ prefix: [UInt8]) throws(KeyExchangeError) -> Int? { try messageLength(prefix: prefix.span) }
    static func lengths(_ prefix: [UInt8]) -> Int? { (try? total(prefix)) ?? nil }
}

extension [UInt8] {
    /// The message with another message_len.
    fileprivate func with(length: Int) -> [UInt8] {
        var message = self
        for index in 0..<4 where 4 + index < count {
            message[4 + index] = UInt8(truncatingIfNeeded: length >> (24 - 8 * index))
        }
        return message
    }
}
