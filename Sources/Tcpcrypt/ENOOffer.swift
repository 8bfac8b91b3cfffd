/// What the active opener puts on its SYN, and what it makes of the answer. It plays role A in the new connection, or B where it says so.
///
/// The caller keeps the option as it is on retransmissions (RFC 8547 section 4.6), and treats a SYN-ACK with more
/// than one ENO option as one with none (section 4.1).
public struct ENOOffer {
    private struct Resumption {
        let tep: TEP
        let expected: HalfID
    }

    /// The whole TCP option.
    public let option: [UInt8]
    private let offered: SYNFormENO
    private let resumption: Resumption?
    private let applicationAware: ApplicationAwareness

    private init(_ offered: SYNFormENO, _ resumption: Resumption?, _ applicationAware: ApplicationAwareness) {
        self.offered = offered
        self.resumption = resumption
        self.applicationAware = applicationAware
        option = offered.encoded()
    }

    /// Fresh key exchange with any of `teps`: 2 bytes and one more for each.
    /// - Parameters:
    ///   - teps: most wanted first; host B's preference counts (RFC 8547 section 4.5).
    ///   - role: B of an active opener is for a simultaneous open (section 4.3); one more byte.
    ///   - applicationAware: bit a (section 4.2), one more byte where it is set, in all.
    public static func fresh(
        teps: [TEP], role: Role = .a, applicationAware: ApplicationAwareness = .off
    ) -> ENOOffer {
        // What host B names last counts most.
        let ordered = role == .a ? teps : teps.reversed()
        return ENOOffer(
            SYNFormENO(
                global: SYNFormENO.global(role, applicationAware),
                suboptions: ordered.map { .init(identifier: $0.rawValue) }), nil, applicationAware)
    }

    /// Resumption with `entry`; implies willingness to exchange keys with its TEP (RFC 8548 section 3.2).
    /// - Parameters:
    ///   - entry: what `chain` proposed.
    ///   - chain: of the session or join.
    ///   - nonce: 0 to 8 bytes, never used before with this entry; 12 bytes and these are the option's length.
    ///   - alsoFresh: further TEPs, one byte each.
    ///   - applicationAware: bit a (RFC 8547 section 4.2), one more byte where it is set.
    public static func resuming(
        _ entry: ChainEntry, of chain: SecretChain, nonce: [UInt8], alsoFresh: [TEP] = [],
        applicationAware: ApplicationAwareness = .off
    ) -> ENOOffer {
        let others = alsoFresh.filter { $0 != chain.tep }
        let mine = SYNFormENO.Suboption.resumption(chain.tep, entry.id.half(sentBy: chain.role), nonce: nonce)
        let offered = SYNFormENO(
            global: SYNFormENO.global(.a, applicationAware),
            suboptions: others.map { .init(identifier: $0.rawValue) } + [mine])
        let expected = entry.id.half(sentBy: chain.role.other)
        return ENOOffer(offered, Resumption(tep: chain.tep, expected: expected), applicationAware)
    }
}

/// What the SYN-ACK settled.
public enum OpenerOutcome: Hashable, Sendable {
    /// Key exchange with this TEP.
    case fresh(TEP, transcript: [UInt8])
    /// The offered secret is in use; `peerNonce` is the acceptor's share of the session nonce.
    case resumed(peerNonce: [UInt8], transcript: [UInt8])
    case disabled(ENOFailure)
}

extension ENOOffer {
    /// Settles the negotiation.
    /// - Parameter answer: the whole ENO option of the SYN-ACK, or of the other SYN of a simultaneous open.
    public func conclude(answer: Span<UInt8>) -> OpenerOutcome {
        if equalInConstantTime(answer, option.span) { return .disabled(.echoed) }
        let received: SYNFormENO
        do { received = try SYNFormENO(parsing: answer) } catch { return .disabled(error) }
        if received.role == offered.role { return .disabled(.roleConflict) }
        if received.isVacuous { return .disabled(.vacuous) }
        guard applicationAware.admits(received) else { return .disabled(.notApplicationAware) }
        let heard = answer.indices.map { answer[$0] }
        return offered.role == .a ? conclude(received, option + heard) : concludeAsB(received, heard + option)
    }

    /// As host B, which offers no resumption.
    private func concludeAsB(_ received: SYNFormENO, _ transcript: [UInt8]) -> OpenerOutcome {
        for candidate in offered.suboptions.reversed() {
            guard let tep = TEP(rawValue: candidate.identifier), let suboption = received.suboption(for: tep)
            else { continue }
            if case .invalid = suboption.reading { continue }
            return .fresh(tep, transcript: transcript)
        }
        return .disabled(.noCommonTEP)
    }

    /// The negotiated TEP is the last valid one in host B's option (RFC 8547 section 4.5).
    private func conclude(_ received: SYNFormENO, _ transcript: [UInt8]) -> OpenerOutcome {
        var failure = ENOFailure.noCommonTEP
        for candidate in received.suboptions.reversed() {
            guard let tep = TEP(rawValue: candidate.identifier), received.suboption(for: tep) != nil,
                offered.suboption(for: tep) != nil
            else { continue }
            if candidate.data == nil { return .fresh(tep, transcript: transcript) }
            // Data means resumption; anything but the other half of what we offered is ignored.
            if let resumption, resumption.tep == tep, case .resumption(let half, let nonce) = candidate.reading,
                half == resumption.expected
            {
                return .resumed(peerNonce: nonce, transcript: transcript)
            }
            failure = .badResumption
        }
        return .disabled(failure)
    }
}
