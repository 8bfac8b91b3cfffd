import PacketWire
import Tcpcrypt

private let crypto = ToyCrypto()

/// Any bytes as the peer's SYN-form ENO option, to both openers, with and without a session to resume.
func fuzz(_ input: [UInt8]) {
    var choices = Choices(input)
    let mode = choices.byte()
    var option = choices.rest()
    if mode & 1 == 0 {
        option = [TCPOptionKind.encryptionNegotiation, UInt8(truncatingIfNeeded: option.count + 2)] + option
    }
    let isProtected = mode & 32 != 0
    let chain = session(isProtected ? .curve25519MPTCP : .curve25519)
    if let parsed = try? SYNFormENO(parsing: option.span) {
        // What is parsed and fits a SYN can be written and read again.
        let written = parsed.encoded()
        if written.count <= 40, parsed.suboptions.allSatisfy({ $0.data.map { (1...32).contains($0.count) } ?? true }),
            parsed.suboptions.dropLast().allSatisfy({ $0.data?.isEmpty != true })
        {
            require((try? SYNFormENO(parsing: written.span)) != nil, "what was encoded parses")
        }
    }
    var asked = 0
    let few: [TEP] = isProtected ? [.curve25519MPTCP, .curve25519] : [.curve25519]
    let teps = mode & 2 == 0 ? few : TEP.allCases
    let outcome = ENOAnswer.answer(to: option.span, teps: teps) { half, _, nonce in
        asked += 1
        require(nonce.count <= 8, "a resumption nonce has at most 8 bytes")
        guard mode & 4 != 0, let entry = chain.find(half) ?? chain.propose() else { return nil }
        return ResumptionMatch(chain: chain, entry: entry, nonce: [1, 2, 3, 4])
    }
    switch outcome {
    case .fresh(let tep, let answer, let transcript):
        require(teps.contains(tep), "the TEP chosen is one of ours")
        require(transcript == option + answer, "the transcript is both options")
        require(answer.count <= 40, "the answer fits the SYN-ACK")
    case .resumed(_, _, let answer, let transcript):
        require(asked > 0 && transcript == option + answer, "the transcript is both options")
    case .disabled: break
    }
    conclude(option, chain, mode)
}

private func conclude(_ option: [UInt8], _ chain: SecretChain, _ mode: UInt8) {
    var option = option
    var offer = ENOOffer.fresh(teps: [chain.tep, .p256])
    if mode & 8 != 0, let entry = chain.propose() {
        offer = .resuming(entry, of: chain, nonce: [9, 9], alsoFresh: [.p256])
        if mode & 16 != 0 { name(entry.id.half(sentBy: chain.role.other), chain.tep, in: &option) }
    }
    switch offer.conclude(answer: option.span) {
    case .fresh(let tep, let transcript):
        require(tep == chain.tep || tep == .p256, "the TEP chosen was offered")
        require(transcript == offer.option + option, "the transcript is both options")
    case .resumed(let nonce, _): require(nonce.count <= 8, "a resumption nonce has at most 8 bytes")
    case .disabled: break
    }
}

/// Puts the right name behind the first TEP with data: nobody guesses it.
private func name(_ half: HalfID, _ tep: TEP, in option: inout [UInt8]) {
    guard let place = option.firstIndex(of: tep.rawValue | 0x80), place + HalfID.length < option.count
    else { return }
    option.replaceSubrange(place + 1...place + HalfID.length, with: half.bytes)
}

/// Made anew for each input, so that a finding can be repeated.
private func session(_ tep: TEP) -> SecretChain {
    let random = ToyRandom(7)
    let a = KeyExchangeA(tep: tep, aeads: [.aes128GCM], transcript: [1], crypto: crypto, random: random)
    guard
        let b = try? KeyExchangeB(
            init1: a.init1.span, tep: tep, aeads: [.aes128GCM], transcript: [1], crypto: crypto, random: random),
        let secret = try? b.finish()
    else { fatalError("the toy key exchange works") }
    return secret.sessionChain(crypto, lookAhead: 4)
}
