import PacketWire
import Tcpcrypt

/// The active opener between SYN and SYN-ACK.
struct Opening {
    var offer: ENOOffer
    /// The whole ENO option of the SYN.
    var option: [UInt8]
    var proposal: Proposal?
    var stripTimestamps = false

    struct Proposal {
        var chain: SecretChain
        var entry: ChainEntry
        var nonce: [UInt8]
    }
}

/// The active opener: our kernel sends the SYN.
///
///                    join without proof         +---------+
///               +-------- dropped ------------> | aborted |
///     SYN ----> +                               +---------+
///               |  port, data, space            +---------+
///               +-----------------------------> |  plain  | (observing, while MPTCP keys are missing)
///               |  ENO appended   +---------+   +---------+
///               +---------------> | opening | ------^  no ENO in the SYN-ACK, or no use in it
///                                 +---------+
///                                      | SYN-ACK with ENO
///                                      v
///                            keyExchange, or encrypted (resumed, join)
extension Flow {
    /// A SYN of the local kernel: the first one or a repetition.
    func sendSYN(_ bytes: Span<UInt8>, _ arrival: Arrival, _ output: inout Output) {
        let packet = arrival.packet
        var options = TCPOptions(packet, of: bytes)
        synsSent += 1
        if mustEncrypt { options.removeFastOpenCookie() }
        if synsSent == 1 {
            localOffer = remember(syn: packet, options, .outbound)
            header.egress = Egress(mark: arrival.metadata.mark, interface: arrival.metadata.interface)
            notePath(arrival.metadata, arrival.now)
            begin(packet, options, arrival, &output)
        }
        removalDeadline = arrival.now.adding(milliseconds: FlowTime.halfOpen)
        guard phase == .opening, let opening else { return passSYN(arrival, &output) }
        restoreMSS(&options)
        if isWithdrawalDue(arrival.now), mustEncrypt {
            // Nothing is withdrawn. Where others were answered only without the option there is no point in waiting.
            if host.unansweredOffers.contains(PathMTUs.Path(tuple), arrival.now) {
                refuse(.synRetransmitted, &output)
                return passSYN(arrival, &output)
            }
        } else if isWithdrawalDue(arrival.now) {
            self.opening = nil
            isOfferWithdrawn = true
            reason = .synRetransmitted
            phase = .observing
            return output.actions.append(.accept(arrival.metadata.id, .undecided))
        }
        if opening.stripTimestamps { options.remove(TCPOptionKind.timestamps) }
        guard options.append(opening.option.span) else {
            guard !isJoin else {
                refuseJoin(.noProof, &output)
                return drop(arrival.metadata.id, &output)
            }
            _ = becomePlain(.optionSpace, &output)
            return passSYN(arrival, &output)
        }
        let range = rewrite(packet, options: options, template: bytes, &output)
        output.actions.append(.replace(arrival.metadata.id, range, .undecided))
    }

    /// The verdict for a SYN that carries no ENO option of ours.
    private func passSYN(_ arrival: Arrival, _ output: inout Output) {
        switch phase {
        case .aborted, .keyExchange, .encrypted:
            // The SYN-ACK is on its way to the kernel. Rules mark a SYN that leaves as that of a plain connection.
            if isRefused { resetLocalHandshake(&output) }
            drop(arrival.metadata.id, &output)
        case .plain: output.actions.append(.accept(arrival.metadata.id, .plain))
        default: output.actions.append(.accept(arrival.metadata.id, .undecided))
        }
    }

    private func begin(
        _ packet: TCPPacket, _ options: borrowing TCPOptions, _ arrival: Arrival, _ output: inout Output
    ) {
        switch options.mptcpOption(isSYN: true) {
        case .joinSYN(let token, let random):
            isJoin = true
            joinToken = token
            joinRandom = random
            return beginJoin(token, options, arrival, &output)
        case .capableSYN:
            mptcp = MPTCPConnection(isOpener: true)
            offersCapable = true
        default:
            break
        }
        if let reason = reasonToStayPlain {
            _ = becomePlain(reason, &output)
        } else if packet.carriesDataWithSYN(options), !mustEncrypt {
            // Such data is not ours to encrypt (RFC 8547 section 4.7): the connection is left alone. Where it has to be encrypted the SYN
            // leaves without, and the kernel sends the data again.
            _ = becomePlain(.synData, &output)
        } else {
            makeOffer(options, arrival.now, &output)
        }
    }

    private func makeOffer(_ options: borrowing TCPOptions, _ now: Instant, _ output: inout Output) {
        let teps = host.configuration.teps
        // Bit a needs a global suboption.
        let overhead = Self.resumptionOverhead + (policy.applicationAware == .off ? 0 : 1)
        let room = options.room
        let shortest = min(4, host.configuration.resumptionNonce)
        // Of two hosts that open to each other only one could name a secret (RFC 8548 section 3.5).
        if mayResume, room >= overhead + shortest, !policy.takesPassiveRole,
            let found = host.sessions.propose(to: tuple.remote, allowing: teps, now: now.milliseconds)
        {
            let nonce = openersNonce(room - overhead)
            return offer(.init(chain: found.chain, entry: found.entry, nonce: nonce), policy.applicationAware)
        }
        // Who has answered before is offered encryption always: a downgrade needs more than a few lost packets.
        if !mustEncrypt, !host.sessions.knows(tuple.remote.address),
            host.unansweredOffers.contains(PathMTUs.Path(tuple), now)
        {
            _ = becomePlain(.synRetransmitted, &output)
            return
        }
        let fresh = ENOOffer.fresh(
            teps: teps, role: policy.takesPassiveRole ? .b : .a, applicationAware: policy.applicationAware)
        guard fresh.option.count <= room else {
            _ = becomePlain(.optionSpace, &output)
            return
        }
        isOfferComplete = true
        opening = Opening(offer: fresh, option: fresh.option)
    }

    /// Kind, length, TEP and half an identifier (RFC 8548 section 3.5), before the nonce.
    private static let resumptionOverhead = 12

    /// As long as is wanted and fits. It may be empty: the secret is used for one attempt only.
    private func openersNonce(_ room: Int) -> [UInt8] {
        host.random.bytes(max(0, min(host.configuration.resumptionNonce, room)))
    }

    private func offer(_ proposal: Opening.Proposal, _ applicationAware: ApplicationAwareness) {
        let offer = ENOOffer.resuming(
            proposal.entry, of: proposal.chain, nonce: proposal.nonce, applicationAware: applicationAware)
        opening = Opening(offer: offer, option: offer.option, proposal: proposal)
    }

    private func beginJoin(
        _ token: UInt32, _ options: borrowing TCPOptions, _ arrival: Arrival, _ output: inout Output
    ) {
        let candidates = host.tracker.connections(remoteToken: token)
        guard candidates.count <= 1 else { return refuseJoin(.ambiguousToken, &output) }
        guard let connection = candidates.first else {
            if host.tracker.isPlain(remoteToken: token) { return fallBack(.plainMPTCPConnection, &output) }
            guard policy.joins == .prefer else { return refuseJoin(.unknownToken, &output) }
            phase = .aborted
            let inquiry = JoinInquiry(tuple: tuple, interface: arrival.metadata.interface, token: token)
            return output.actions.append(.inquire(inquiry))
        }
        guard policy.joins != .off else {
            // The kernel would go on trying.
            isRefused = true
            return refuseJoin(.policy, &output)
        }
        guard connection.protection == .encrypted, let chain = connection.openingChain else {
            return refuseJoin(.noProof, &output)
        }
        guard let entry = chain.propose() else { return refuseJoin(.chainExhausted, &output) }
        mptcp = connection
        connection.subflows += 1
        var room = options.room
        if let timestamps = options.range(of: TCPOptionKind.timestamps) { room += timestamps.count }
        offer(.init(chain: chain, entry: entry, nonce: openersNonce(room - Self.resumptionOverhead)), .off)
        opening?.stripTimestamps = true
    }

    /// Whether unanswered SYNs suggest that something on the path dislikes the option. MPTCP gives up on a peer
    /// after two lost SYNs (DESIGN.md section 5), so a stranger gets one only.
    ///
    /// Whoever has encrypted before may hold an earlier connection with the same addresses, and answers nothing else before it believes the
    /// kernel's reset of that one.
    private func isWithdrawalDue(_ now: Instant) -> Bool {
        guard !isJoin else { return false }
        guard host.sessions.knows(tuple.remote.address) else { return synsSent > (offersCapable ? 1 : 2) }
        return synsSent > 2 && now.milliseconds(since: handshakeStarted) > FlowTime.patienceWithKnown
    }

    // MARK: SYN-ACK

    /// A SYN-ACK from the wire, for a flow this host opened.
    func receiveSYNACK(_ bytes: Span<UInt8>, _ arrival: Arrival, _ output: inout Output) {
        let packet = arrival.packet
        let options = TCPOptions(packet, of: bytes)
        switch phase {
        case .observing, .plain:
            if isOfferWithdrawn { host.unansweredOffers.note(PathMTUs.Path(tuple), arrival.now) }
            isOfferWithdrawn = false
            return observe(bytes, arrival, &output)
        case .opening:
            // The kernel answers what does not acknowledge its SYN with a reset.
            guard packet.acknowledgment == outOrigin.sequence(at: 0) else {
                return output.actions.append(.accept(arrival.metadata.id, .undecided))
            }
            conclude(bytes, options, arrival, &output)
        case .keyExchange, .encrypted:
            guard packet.sequence == inOrigin.initial else { return drop(arrival.metadata.id, &output) }
            deliverSYNACK(bytes, options, arrival, &output)
        case .accepting, .aborted:
            if isRefused { host.refuse(arrival, &output) }
            drop(arrival.metadata.id, &output)
        }
    }

    private func conclude(
        _ bytes: Span<UInt8>, _ options: borrowing TCPOptions, _ arrival: Arrival, _ output: inout Output
    ) {
        guard let opening else { return drop(arrival.metadata.id, &output) }
        let packet = arrival.packet
        let remoteOffer = remember(syn: packet, options, .inbound)
        agree(local: localOffer, remote: remoteOffer)
        host.unansweredOffers.clear(PathMTUs.Path(tuple))
        note(roundTripSince: handshakeStarted, arrival.now)
        let option = options.mptcpOption(isSYN: true)
        if offersCapable, case .capableSYNACK = option {
            learnKeys(option, from: .inbound, &output)
        } else if !isJoin {
            mptcp = nil
        }
        let outcome = negotiate(opening.offer, options)
        if !isJoin, let proposal = opening.proposal { noteAnswer(outcome, to: proposal) }
        if let failure = accept(outcome, opening, option, arrival, &output) {
            guard !isJoin else { return refuseSYNACK(bytes, arrival, &output) }
            let mark = becomePlain(failure, &output)
            if isRefused { return resetBoth(bytes, arrival, &output) }
            return output.actions.append(.accept(arrival.metadata.id, mark))
        }
        send.acknowledge(0, window: Int(packet.window))
        if !isJoin { mptcp?.usesTimestamps = header.usesTimestamps }
        needsENO = true
        enterJournal(&output)
        deliverSYNACK(bytes, options, arrival, &output)
        if crossing != nil { sendCrossedInit1(arrival.now, &output) }
    }

    /// Whether the session is good for whoever is at that address and port.
    private func noteAnswer(_ outcome: Result<OpenerOutcome, Fallback>, to proposal: Opening.Proposal) {
        if case .success(.resumed) = outcome {
            host.sessions.noteSuccess(of: proposal.chain, at: tuple.remote)
        } else {
            host.sessions.noteRefusal(of: proposal.chain, at: tuple.remote)
        }
    }

    func negotiate(_ offer: ENOOffer, _ options: borrowing TCPOptions) -> Result<OpenerOutcome, Fallback> {
        let answers = options.ranges(of: ENO.optionKind)
        guard let answer = answers.first else { return .failure(Fallback(reason: .noENO)) }
        guard answers.count == 1 else { return .failure(Fallback(reason: .illFormedENO)) }
        if !isJoin { notePeer(options.span.extracting(answer)) }
        return .success(offer.conclude(answer: options.span.extracting(answer)))
    }

    /// Why negotiation did not lead to encryption.
    struct Fallback: Error { var reason: FallbackReason }

    /// Takes the outcome into use; returns why there is none.
    private func accept(
        _ outcome: Result<OpenerOutcome, Fallback>, _ opening: Opening, _ option: MPTCPOption?, _ arrival: Arrival,
        _ output: inout Output
    ) -> FallbackReason? {
        switch outcome {
        case .failure(let fallback):
            return fallback.reason
        case .success(.disabled(let failure)):
            return FallbackReason(failure)
        case .success(.fresh(let tep, let transcript)):
            guard !isJoin else { return .badResumption }
            beginKeyExchange(tep, transcript, arrival.now)
            return nil
        case .success(.resumed(let peerNonce, _)):
            guard let proposal = opening.proposal else { return .badResumption }
            if isJoin { proposal.chain.noteAnswer(to: proposal.entry) }
            var nonce =
                proposal.chain.role == .a ? proposal.nonce + peerNonce : peerNonce + proposal.nonce
            if isJoin {
                guard case .joinSYNACK(let random) = option else { return .badResumption }
                nonce += joinRandom.bigEndianBytes + random.bigEndianBytes
            }
            origin = isJoin ? .join : .resumed
            if startsTimestampsLate { header.usesTimestamps = localOffer.timestamps }
            tep = proposal.chain.tep
            install(
                ConnectionSecret(resuming: proposal.entry, of: proposal.chain, sessionNonce: nonce), now: arrival.now,
                &output)
            // It rides on the third ACK: proof of a join, and proof of encryption where the ENO option of that ACK gets lost.
            sealEmptyFrame(rekey: false)
            if isJoin {
                secretProven(&output)
            } else {
                sessionChain = proposal.chain
            }
            return nil
        }
    }

    func beginKeyExchange(_ tep: TEP, _ transcript: [UInt8], _ now: Instant) {
        guard !policy.takesPassiveRole else { return awaitInit1(tep, transcript) }
        let exchange = KeyExchangeA(
            tep: tep, aeads: host.configuration.aeads, transcript: transcript, pair: host.keyPair(tep, now),
            crypto: host.crypto, random: host.random)
        self.tep = tep
        origin = .fresh
        send.append(exchange.init1.span, kCount: 0, lead: exchange.init1.count)
        keyExchange = exchange
        phase = .keyExchange
        opening = nil
    }

    /// The peer has opened too and left the passive role to this host.
    private func awaitInit1(_ tep: TEP, _ transcript: [UInt8]) {
        isOpenerB = true
        self.tep = tep
        self.transcript = transcript
        origin = .fresh
        phase = .keyExchange
        opening = nil
    }

    /// A join without proof: the kernel sees a reset, and so does the peer.
    private func refuseSYNACK(_ bytes: Span<UInt8>, _ arrival: Arrival, _ output: inout Output) {
        let packet = arrival.packet
        host.refuse(arrival, &output)
        refuseJoin(.noProof, &output)
        var fields = TCPHeader(packet)
        fields.flags = [.rst, .ack]
        fields.sequence = Self.sequenceOfJoinReset
        let range = rewrite(packet, fields, options: TCPOptions(), template: bytes, &output)
        output.actions.append(.replace(arrival.metadata.id, range, .encrypted))
    }

    /// A reset of a join whose SYN-ACK is awaited. Its sequence number counts for nothing there (RFC 9293 section 3.10.7.3), unless it is 1: then
    /// Linux takes it for a segment of an established subflow that lacks MPTCP, and its connection falls back to TCP, to stall for good
    /// (measured on 6.18: MPCapableDataFallback).
    func deliverResetOfJoin(_ bytes: Span<UInt8>, _ arrival: Arrival, _ output: inout Output) {
        let packet = arrival.packet
        if packet.flags.contains(.ack), packet.acknowledgment == outOrigin.sequence(at: 0) {
            removalDeadline = arrival.now.adding(milliseconds: FlowTime.reset)
        }
        var fields = TCPHeader(packet)
        fields.sequence = Self.sequenceOfJoinReset
        let options = TCPOptions(packet, of: bytes)
        let range = rewrite(packet, fields, options: options, template: bytes, &output)
        output.actions.append(.replace(arrival.metadata.id, range, .undecided))
    }

    /// That of a reset for a SYN (RFC 9293 section 3.10.7.1).
    static let sequenceOfJoinReset = SequenceNumber(0)

    private func deliverSYNACK(
        _ bytes: Span<UInt8>, _ wireOptions: borrowing TCPOptions, _ arrival: Arrival, _ output: inout Output
    ) {
        var options = loweringMSS(of: wireOptions, arrival)
        if !header.usesTimestamps {
            options.remove(TCPOptionKind.timestamps)
        } else if startsTimestampsLate {
            setEmptyTimestamps(&options, arrival)
        }
        let range = rewrite(arrival.packet, options: options, template: bytes, &output)
        output.actions.append(.replace(arrival.metadata.id, range, .encrypted))
    }
}

extension UInt32 {
    var bigEndianBytes: [UInt8] { [24, 16, 8, 0].map { UInt8(truncatingIfNeeded: self >> UInt32($0)) } }
}
