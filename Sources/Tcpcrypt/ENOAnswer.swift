/// The secret with which a passive opener agrees to resume.
public struct ResumptionMatch {
    public let chain: SecretChain
    public let entry: ChainEntry
    /// Our share of the session nonce: 0 to 8 bytes, never used before with this entry.
    public let nonce: [UInt8]

    public init(chain: SecretChain, entry: ChainEntry, nonce: [UInt8]) {
        self.chain = chain
        self.entry = entry
        self.nonce = nonce
    }
}

/// What to answer a SYN. `option` is the whole TCP option for the SYN-ACK.
public enum PassiveOutcome {
    case fresh(TEP, option: [UInt8], transcript: [UInt8])
    case resumed(ResumptionMatch, peerNonce: [UInt8], option: [UInt8], transcript: [UInt8])
    /// No ENO option on the SYN-ACK.
    case disabled(ENOFailure)
}

/// The passive opener, role B in the new connection (RFC 8547 section 4.3).
public enum ENOAnswer {
    /// Answers a SYN with one TEP: a secret both know if there is one, else the TEP we like best.
    ///
    /// The caller treats a SYN with more than one ENO option as one with none (RFC 8547 section 4.1).
    /// - Parameters:
    ///   - option: the whole ENO option of the SYN.
    ///   - teps: what we support, most wanted first.
    ///   - applicationAware: our bit a; the peer's is ``SYNFormENO/isApplicationAware``.
    ///   - resume: finds the secret that the opener's half names and chooses our nonce; gets the opener's nonce.
    public static func answer(
        to option: Span<UInt8>, teps: [TEP], applicationAware: ApplicationAwareness = .off,
        resume: (HalfID, TEP, [UInt8]) -> ResumptionMatch?
    ) -> PassiveOutcome {
        let received: SYNFormENO
        do { received = try SYNFormENO(parsing: option) } catch { return .disabled(error) }
        if received.role != .a { return .disabled(.roleConflict) }
        if received.isVacuous { return .disabled(.vacuous) }
        guard applicationAware.admits(received) else { return .disabled(.notApplicationAware) }
        let heard = option.indices.map { option[$0] }
        let global = SYNFormENO.global(.b, applicationAware)
        for suboption in received.suboptions {
            guard let tep = TEP(rawValue: suboption.identifier), teps.contains(tep),
                received.suboption(for: tep) != nil, case .resumption(let half, let nonce) = suboption.reading,
                let match = resume(half, tep, nonce)
            else { continue }
            return resumed(match, tep, peerNonce: nonce, heard, global)
        }
        return fresh(received, teps, heard, global)
    }

    private static func resumed(
        _ match: ResumptionMatch, _ tep: TEP, peerNonce: [UInt8], _ heard: [UInt8], _ global: UInt8
    ) -> PassiveOutcome {
        let half = match.entry.id.half(sentBy: match.chain.role)
        let answer = SYNFormENO(global: global, suboptions: [.resumption(tep, half, nonce: match.nonce)])
        let option = answer.encoded()
        return .resumed(match, peerNonce: peerNonce, option: option, transcript: heard + option)
    }

    private static func fresh(
        _ received: SYNFormENO, _ teps: [TEP], _ heard: [UInt8], _ global: UInt8
    ) -> PassiveOutcome {
        for tep in teps {
            guard let suboption = received.suboption(for: tep) else { continue }
            if case .invalid = suboption.reading { continue }
            let option = SYNFormENO(global: global, suboptions: [.init(identifier: tep.rawValue)]).encoded()
            return .fresh(tep, option: option, transcript: heard + option)
        }
        return .disabled(.noCommonTEP)
    }
}
