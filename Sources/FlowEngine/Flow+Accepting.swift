import PacketWire
import Tcpcrypt

/// The passive opener between SYN and the first ACK.
struct Accepting {
    enum Answer {
        case fresh(TEP)
        case resumed(ResumptionMatch, peerNonce: [UInt8])
    }

    var answer: Answer
    /// The whole ENO option of the SYN-ACK.
    var option: [UInt8]
    var transcript: [UInt8]
    var remoteOffer: SYNOffer
    var windowOfSYN: Int
    var synAckSent: Instant?
    /// The peer's random number, and ours once the kernel chose it.
    var joinRandoms: [UInt8] = []
}

/// The passive opener: the peer sends the SYN.
///
///                    join without proof          +---------+
///               +-- dropped, reset to the peer-> | aborted |
///     SYN ----> +                                +---------+
///               |  no ENO, port, no use in it    +---------+
///               +------------------------------> |  plain  | (observing, while MPTCP keys are missing)
///               |  ENO taken out  +-----------+  +---------+
///               +---------------> | accepting | -----^  ACK without ENO
///                                 +-----------+
///                                       | ACK with ENO, or with what only a peer says that encrypts
///                                       v
///                             keyExchange, or encrypted (resumed, join)
extension Flow {
    /// A SYN from the wire: the first one or a repetition.
    func receiveSYN(_ bytes: Span<UInt8>, _ arrival: Arrival, _ output: inout Output) {
        let packet = arrival.packet
        let options = TCPOptions(packet, of: bytes)
        if phase == .accepting && accepting == nil {
            joinToken = options.joinToken
            let remoteOffer = remember(syn: packet, options, .inbound)
            header.egress = Egress(mark: arrival.metadata.mark, interface: arrival.metadata.interface)
            notePath(arrival.metadata, arrival.now)
            judge(packet, options, remoteOffer, arrival.now, &output)
        } else if options.joinToken != joinToken || isOtherAttempt(options) {
            // Not the SYN that was judged. The kernel may have lost that one, and would take this one for the first.
            return drop(arrival.metadata.id, &output)
        }
        removalDeadline = removalDeadline ?? arrival.now.adding(milliseconds: FlowTime.halfOpen)
        switch phase {
        case .plain:
            host.acceptSYN(bytes, arrival, .plain, &output)
        case .observing:
            host.acceptSYN(bytes, arrival, .undecided, &output)
        case .aborted:
            if isJoin || isRefused { host.refuse(arrival, &output) }
            drop(arrival.metadata.id, &output)
        case .opening where isJoin:
            // No kernel answers a join with a SYN.
            drop(arrival.metadata.id, &output)
        case .opening:
            receiveCrossingSYN(bytes, options, arrival, &output)
        case .accepting where !isJoin && !options.contains(ENO.optionKind):
            // The opener has given up ENO between two repetitions (RFC 8547 section 4.6).
            accepting = nil
            let mark = becomePlain(.noENO, &output)
            if isRefused { return resetBoth(bytes, arrival, &output) }
            output.actions.append(.accept(arrival.metadata.id, mark))
        case .accepting, .keyExchange, .encrypted:
            deliverSYN(bytes, options, arrival, &output)
        }
    }

    /// Whether a join's SYN has another random number than the one that was judged: the keys will be made from that.
    private func isOtherAttempt(_ options: borrowing TCPOptions) -> Bool {
        guard case .joinSYN(_, let random) = options.mptcpOption(isSYN: true) else { return false }
        return random != joinRandom
    }

    /// Another SYN while the third ACK is awaited: the kernel may answer it, or begin anew with it, without encryption.
    func passOtherSYN(_ bytes: Span<UInt8>, _ arrival: Arrival, _ output: inout Output) {
        var options = TCPOptions(arrival.packet, of: bytes)
        guard !options.mayBeJoin else { return drop(arrival.metadata.id, &output) }
        options.remove(ENO.optionKind)
        options.removeFastOpenCookie()
        let range = rewrite(arrival.packet, options: options, template: bytes, &output)
        output.actions.append(.replace(arrival.metadata.id, range, .undecided))
    }

    func deliverSYN(
        _ bytes: Span<UInt8>, _ wireOptions: borrowing TCPOptions, _ arrival: Arrival, _ output: inout Output
    ) {
        var options = loweringMSS(of: wireOptions, arrival)
        options.removeFastOpenCookie()
        // To a connection in TIME-WAIT they would be older than its own.
        if isJoin, accepting != nil, mptcp?.usesTimestamps == true, !isUnconfirmed,
            !options.contains(TCPOptionKind.timestamps)
        {
            accepting?.remoteOffer.timestamps = setEmptyTimestamps(&options, arrival)
        }
        let range = rewrite(arrival.packet, options: options, template: bytes, &output)
        output.actions.append(.replace(arrival.metadata.id, range, .undecided))
    }

    /// Decides what becomes of the connection that this SYN opens.
    private func judge(
        _ packet: TCPPacket, _ options: borrowing TCPOptions, _ remoteOffer: SYNOffer, _ now: Instant,
        _ output: inout Output
    ) {
        switch options.mptcpOption(isSYN: true) {
        case .joinSYN(let token, let random):
            isJoin = true
            joinRandom = random
            return judgeJoin(token, packet, options, remoteOffer, &output)
        case .capableSYN:
            mptcp = MPTCPConnection(isOpener: false)
            offersCapable = true
        default:
            break
        }
        if let reason = reasonToStayPlain {
            _ = becomePlain(reason, &output)
            return
        }
        let nonceCount = mptcp == nil ? 8 : Accepting.nonceCountCapable
        let outcome = answer(options, policy.applicationAware) { half, tep, _ in
            guard self.mayResume,
                let found = self.host.sessions.find(half, tep: tep, now: now.milliseconds)
            else { return nil }
            return self.attempt(found.entry, of: found.chain, nonceCount: nonceCount)
        }
        if case .success(.fresh) = outcome, !host.keyExchanges.hasRoom(now) {
            _ = becomePlain(.busy, &output)
        } else if let failure = accept(outcome, packet, remoteOffer) {
            _ = becomePlain(failure, &output)
        }
    }

    private func judgeJoin(
        _ token: UInt32, _ packet: TCPPacket, _ options: borrowing TCPOptions, _ remoteOffer: SYNOffer,
        _ output: inout Output
    ) {
        let connection: MPTCPConnection
        let chain: SecretChain
        switch host.fate(ofJoin: token, options, policy.joins) {
        case .plain:
            _ = becomePlain(.plainMPTCPConnection, &output)
            return
        case .early: return refuseJoin(.noProof, &output)
        case .refused(let reason): return refuseJoin(reason, &output)
        case .named(let found, let itsChain): (connection, chain) = (found, itsChain)
        }
        var refusal = JoinRefusal.badProof
        let outcome = answer(options, .off) { half, tep, _ in
            guard tep == chain.tep, let entry = chain.find(half) else { return nil }
            let match = self.attempt(entry, of: chain, nonceCount: Accepting.nonceCountJoin)
            if match == nil { refusal = .tooManyAttempts }
            return match
        }
        guard accept(outcome, packet, remoteOffer) == nil else { return refuseJoin(refusal, &output) }
        mptcp = connection
        connection.subflows += 1
    }

    /// One more connection under a secret that the peer names. Its nonce differs from those of the others, whatever they come to.
    private func attempt(_ entry: ChainEntry, of chain: SecretChain, nonceCount: Int) -> ResumptionMatch? {
        guard let number = chain.admitAttempt(entry.index) else { return nil }
        let count = min(nonceCount, max(host.configuration.resumptionNonce, Accepting.shortestNonce))
        return ResumptionMatch(chain: chain, entry: entry, nonce: [number] + host.random.bytes(count - 1))
    }

    private func answer(
        _ options: borrowing TCPOptions, _ applicationAware: ApplicationAwareness,
        resume: (HalfID, TEP, [UInt8]) -> ResumptionMatch?
    ) -> Result<PassiveOutcome, Fallback> {
        let offers = options.ranges(of: ENO.optionKind)
        guard let offer = offers.first else { return .failure(Fallback(reason: .noENO)) }
        guard offers.count == 1 else { return .failure(Fallback(reason: .illFormedENO)) }
        if !isJoin { notePeer(options.span.extracting(offer)) }
        return .success(
            ENOAnswer.answer(
                to: options.span.extracting(offer), teps: host.configuration.teps, applicationAware: applicationAware,
                resume: resume))
    }

    private func accept(
        _ outcome: Result<PassiveOutcome, Fallback>, _ packet: TCPPacket, _ remoteOffer: SYNOffer
    ) -> FallbackReason? {
        let made: (answer: Accepting.Answer, option: [UInt8], transcript: [UInt8])
        switch outcome {
        case .failure(let fallback): return fallback.reason
        case .success(.disabled(let failure)): return FallbackReason(failure)
        case .success(.fresh(let tep, let option, let transcript)):
            if isJoin { return .badResumption }
            made = (.fresh(tep), option, transcript)
        case .success(.resumed(let match, let peerNonce, let option, let transcript)):
            made = (.resumed(match, peerNonce: peerNonce), option, transcript)
        }
        accepting = Accepting(
            answer: made.answer, option: made.option, transcript: made.transcript, remoteOffer: remoteOffer,
            windowOfSYN: Int(packet.window))
        return nil
    }

    // MARK: SYN-ACK

    /// A SYN-ACK of the local kernel, for a flow the peer opened.
    func sendSYNACK(_ bytes: Span<UInt8>, _ arrival: Arrival, _ output: inout Output) {
        switch phase {
        case .observing, .plain:
            observe(bytes, arrival, &output)
        case .accepting:
            answerSYN(bytes, arrival, &output)
        case .keyExchange, .encrypted:
            // The kernel has not had, or not taken, the ACK; the peer's kernel repeats it. ENO is settled. As a packet of
            // our own, since rules that have forgotten the connection mark a SYN-ACK as that of a plain one.
            var options = TCPOptions(arrival.packet, of: bytes)
            if startsTimestampsLate { options.remove(TCPOptionKind.timestamps) }
            inject(rewrite(arrival.packet, options: options, template: bytes, &output), &output)
            drop(arrival.metadata.id, &output)
        case .opening, .aborted:
            drop(arrival.metadata.id, &output)
        }
    }

    private func answerSYN(_ bytes: Span<UInt8>, _ arrival: Arrival, _ output: inout Output) {
        let packet = arrival.packet
        var options = TCPOptions(packet, of: bytes)
        let answer = accepting?.option ?? []
        localOffer = remember(syn: packet, options, .outbound)
        header.note(timestamps: options, arrival.now)
        header.synACKTimestamp = header.timestampValue
        if accepting?.isResumed == true, options.contains(TCPOptionKind.mptcp) {
            options.remove(TCPOptionKind.timestamps)
        }
        guard accepting != nil, options.append(answer.span) else {
            guard !isJoin else {
                refuseJoin(.noProof, &output)
                return drop(arrival.metadata.id, &output)
            }
            accepting = nil
            let mark = becomePlain(.optionSpace, &output)
            if isRefused { return refuseSYNACK(arrival, &output) }
            return output.actions.append(.accept(arrival.metadata.id, mark))
        }
        header.egress = Egress(mark: arrival.metadata.mark, interface: arrival.metadata.interface)
        notePath(arrival.metadata, arrival.now)
        restoreMSS(&options)
        let option = options.mptcpOption(isSYN: true)
        if offersCapable, case .capableSYNACK = option {
            learnKeys(option, from: .outbound, &output)
        } else if !isJoin {
            mptcp = nil
        } else if case .joinSYNACK(let random) = option {
            accepting?.joinRandoms = joinRandom.bigEndianBytes + random.bigEndianBytes
        }
        if accepting?.synAckSent == nil { accepting?.synAckSent = arrival.now }
        isNeverPlain = mustEncrypt
        let range = rewrite(packet, options: options, template: bytes, &output)
        output.actions.append(.replace(arrival.metadata.id, range, .undecided))
    }

    /// A SYN-ACK that is not to leave: its kernel and the peer see resets.
    private func refuseSYNACK(_ arrival: Arrival, _ output: inout Output) {
        resetLocalHandshake(&output)
        let fields = TCPHeader(
            sequence: outOrigin.sequence(at: 0), acknowledgment: inOrigin.sequence(at: 0), flags: [.rst, .ack],
            window: 0)
        if let range = host.make(fields, from: tuple.local, to: tuple.remote, options: TCPOptions(), &output) {
            host.counters.packetsInjected += 1
            output.actions.append(.inject(range, Egress(mark: arrival.metadata.mark, interface: 0)))
        }
        drop(arrival.metadata.id, &output)
    }

    // MARK: The first ACK

    /// The first segment without SYN from the wire decides (RFC 8547 section 4.6).
    func receiveFirstACK(_ bytes: Span<UInt8>, _ arrival: Arrival, _ output: inout Output) {
        let packet = arrival.packet
        guard let accepting, accepting.synAckSent != nil, packet.flags.contains(.ack),
            !packet.flags.contains(.rst), packet.acknowledgment == outOrigin.sequence(at: 0)
        else {
            // The kernel refuses it, or is reset by it, in a space that has not split yet.
            if packet.flags.contains(.rst), isExactReset(packet) {
                isReset = true
                removalDeadline = arrival.now.adding(milliseconds: FlowTime.reset)
            }
            return output.actions.append(.accept(arrival.metadata.id, .undecided))
        }
        let options = TCPOptions(packet, of: bytes)
        learnKeys(options.mptcpOption(isSYN: false), from: .inbound, &output)
        let isFirst = packet.sequence == inOrigin.sequence(at: 0)
        let payload = bytes.extracting(packet.payload)
        guard options.contains(ENO.optionKind) || (isFirst && isTCPCrypt(payload, accepting)) else {
            return acceptWithoutENO(bytes, arrival, &output)
        }
        // The third ACK of a peer that fell back to TCP, or lost its MPTCP option on the way: our kernel has to see that.
        if isFirst, !options.contains(TCPOptionKind.mptcp) { kernelEstablished = true }
        agree(local: localOffer, remote: accepting.remoteOffer)
        send.acknowledge(0, window: accepting.windowOfSYN)
        if !isJoin { mptcp?.usesTimestamps = header.usesTimestamps }
        if let sent = accepting.synAckSent { note(roundTripSince: sent, arrival.now) }
        enterJournal(&output)
        begin(accepting, arrival.now, &output)
        removalDeadline = nil
        inbound(bytes, arrival, &output)
        // A peer that says nothing of its own accord, as ours do, is asked to.
        if proofOwed != nil, !isJoin, phase == .encrypted { initiateRekeying(arrival.now, &output) }
    }

    /// Whether the kernel obeys a reset of its half-open connection: nothing less may make this one forget it.
    private func isExactReset(_ packet: TCPPacket) -> Bool {
        guard accepting?.synAckSent != nil, packet.sequence == inOrigin.sequence(at: 0) else { return false }
        return !packet.flags.contains(.ack) || packet.acknowledgment == outOrigin.sequence(at: 0)
    }

    /// Whether the beginning of the peer's stream shows that it encrypts, although the ENO option of its third ACK was taken out
    /// on the way. RFC 8547 section 4.6 would have us fall back, to hand ciphertext to the application; section 9 asks for
    /// means to recover instead. The opener has had our ENO option, or could not say this.
    private func isTCPCrypt(_ payload: Span<UInt8>, _ accepting: Accepting) -> Bool {
        switch accepting.answer {
        case .fresh:
            return payload.count >= 4 && payload.loadUInt32(at: 0) == Init1.magic
        case .resumed where isJoin:
            // Its kernel is shown nothing before a frame has authenticated.
            return payload.count >= Frame.controlLength
        case .resumed(let match, let peerNonce):
            guard let control = Frame.parseControl(payload), control.length <= payload.count else { return false }
            // A second pair of streams from this secret: this one seals nothing.
            var opener = resumedSecret(match, peerNonce, accepting).streams(host.crypto).opener
            var plain = [UInt8](repeating: 0, count: control.length)
            var target = plain.mutableSpan
            return opener.open(payload.extracting(0..<control.length), offset: 0, into: &target) != nil
        }
    }

    private func resumedSecret(
        _ match: ResumptionMatch, _ peerNonce: [UInt8], _ accepting: Accepting
    ) -> ConnectionSecret {
        let nonce = ConnectionSecret.sessionNonce(of: match.chain, local: match.nonce, peer: peerNonce)
        return ConnectionSecret(
            resuming: match.entry, of: match.chain, sessionNonce: nonce + accepting.joinRandoms)
    }

    private func begin(_ accepting: Accepting, _ now: Instant, _ output: inout Output) {
        switch accepting.answer {
        case .fresh(let tep):
            self.tep = tep
            origin = .fresh
            transcript = accepting.transcript
            phase = .keyExchange
            self.accepting = nil
        case .resumed(let match, let peerNonce):
            let chain = match.chain
            tep = chain.tep
            origin = isJoin ? .join : .resumed
            if !isJoin { sessionChain = chain }
            proofOwed = match.entry.index
            install(resumedSecret(match, peerNonce, accepting), now: now, &output)
        }
    }

    private func acceptWithoutENO(_ bytes: Span<UInt8>, _ arrival: Arrival, _ output: inout Output) {
        if isJoin {
            host.refuse(arrival, &output)
            refuseJoin(.noProof, &output)
            return drop(arrival.metadata.id, &output)
        }
        let payload = bytes.extracting(arrival.packet.payload)
        if !payload.isEmpty, arrival.packet.sequence != inOrigin.sequence(at: 0) {
            // What it continues decides, and comes again.
            return drop(arrival.metadata.id, &output)
        }
        self.accepting = nil
        let mark = becomePlain(.noENOOnACK, &output)
        if isRefused { return resetBoth(bytes, arrival, &output) }
        output.actions.append(.accept(arrival.metadata.id, mark))
    }
}

extension Accepting {
    static let nonceCountCapable = 6
    /// The random numbers of MP_JOIN count as well.
    static let nonceCountJoin = 2
    static let shortestNonce = 4

    var isResumed: Bool {
        if case .resumed = answer { true } else { false }
    }
}
