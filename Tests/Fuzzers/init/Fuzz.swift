import Tcpcrypt

private let crypto = ToyCrypto()

/// Any bytes as Init1 and Init2 (RFC 8548 section 4.1), to the parsers and to both ends of a key exchange. Half of the inputs get
/// the right magic number and length in front, so that the fuzzer need not find them.
func fuzz(_ input: [UInt8]) {
    var choices = Choices(input)
    let mode = choices.byte()
    let tep = TEP.allCases[Int(mode & 3)]
    let body = choices.rest()
    let length = UInt32(body.count + 8)
    let size = [24, 16, 8, 0].map { UInt8(truncatingIfNeeded: length >> UInt32($0)) }
    let first = mode & 4 == 0 ? body : [0x15, 0x10, 0x1a, 0x0e] + size + body
    let second = mode & 4 == 0 ? body : [0x09, 0x71, 0x05, 0xe0] + size + body
    let random = ToyRandom(3)

    lengths(first, second)
    if let parsed = try? Init1(parsing: first.span, tep: tep) {
        require(parsed.nonce.count == tep.nonceLength, "N_A has its length")
        require(parsed.publicKey.count == tep.publicKeyLength, "Pub_A has its length")
    }
    if let parsed = try? Init2(parsing: second.span, tep: tep) {
        require(parsed.publicKey.count == tep.publicKeyLength, "Pub_B has its length")
    }
    let b = try? KeyExchangeB(
        init1: first.span, tep: tep, aeads: AEADAlgorithm.allCases, transcript: [], crypto: crypto, random: random)
    _ = try? b?.finish()
    let a = KeyExchangeA(tep: tep, aeads: [.aes128GCM], transcript: [], crypto: crypto, random: random)
    if let secret = try? a.finish(init2: second.span) {
        require(secret.aead == .aes128GCM, "the AEAD was offered")
        require(secret.sessionID(crypto).count == 33, "a session ID has 33 bytes")
    }
}

private func lengths(_ first: [UInt8], _ second: [UInt8]) {
    for count in [0, 3, 7, 8, first.count] where count <= first.count {
        if let length = try? Init1.messageLength(prefix: first.span.extracting(0..<count)) {
            require(length >= 73 && length <= 1 << 20, "a message length is sane")
        }
    }
    for count in [0, 3, 7, 8, second.count] where count <= second.count {
        if let length = try? Init2.messageLength(prefix: second.span.extracting(0..<count)) {
            require(length >= 74 && length <= 1 << 20, "a message length is sane")
        }
    }
}
