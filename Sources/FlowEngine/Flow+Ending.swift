import DequeModule
import PacketWire
import Tcpcrypt

/// Resets, aborts and what time does to a flow.
extension Flow {
    // MARK: Resets

    /// A reset of the local kernel. RFC 5961 lets the peer obey it only at exactly the sequence number it
    /// expects, so the K numbers that mean "here" become the W numbers that mean the same.
    func emitReset(
        _ bytes: Span<UInt8>, _ options: borrowing TCPOptions, _ arrival: Arrival, _ output: inout Output
    ) {
        let packet = arrival.packet
        let k = outOrigin.offset(of: packet.sequence, near: send.queuedK)
        let w: Int
        // Without ACK it answers an acknowledgement, at just the number that was acknowledged, whatever the engine has sent since.
        let isAnswer = !packet.flags.contains(.ack)
        if k >= send.nextK, !isAnswer || k > send.acknowledgedK {
            w = send.sentW
        } else if k <= send.acknowledgedK {
            w = send.acknowledgedW
        } else {
            w = min(send.map.w(startingAt: k), send.sentW)
        }
        let isAtEnd = w == send.sentW
        announceReset(options, arrival.now, &output)
        let place = isAtEnd ? send.sentW : w
        let range = compose(
            fields(at: place, flags: packet.flags), options: options, like: packet, template: bytes,
            ciphertext: place..<place, checksum: .full, &output)
        output.actions.append(.replace(arrival.metadata.id, range, .encrypted))
        endByReset(arrival.now, &output)
    }

    /// A reset from the wire: obeyed where the peer means this point of the stream (RFC 5961 section 3.2).
    func receiveReset(
        _ bytes: Span<UInt8>, _ options: borrowing TCPOptions, _ arrival: Arrival, _ output: inout Output
    ) {
        let packet = arrival.packet
        let w = inOrigin.offset(of: packet.sequence, near: receive.contiguousW)
        let isExact = w == receive.nextW || w == receive.contiguousW || w == currentAckW
        if isExact || isInWindow(w), doubtsResets {
            doubtReset(options, arrival.now, &output)
            return drop(arrival.metadata.id, &output)
        }
        guard isExact else {
            if isInWindow(w) {
                challenge(arrival.now, &output)
                var current = doubt ?? Doubt(arrival.now)
                if isFastClose(options) { current.isFastClose = true }
                doubt = current
            }
            return drop(arrival.metadata.id, &output)
        }
        var options = copy options
        if doubt?.isFastClose == true, !options.contains(TCPOptionKind.mptcp), let key = mptcp?.localKey {
            options.append(MPTCPOption.fastClose(key).span)
        }
        let acknowledged = outOrigin.offset(of: packet.acknowledgment, near: send.acknowledgedW)
        // What the peer answers to an acknowledgement of the kernel's names the same point, whatever was delivered since.
        let k = w == currentAckW ? receive.acknowledgedK : receive.deliveredK
        let fields = TCPHeader(
            sequence: inOrigin.sequence(at: k),
            acknowledgment: outOrigin.sequence(at: send.map.k(acknowledgedBy: acknowledged)), flags: packet.flags,
            window: packet.window)
        let range = rewrite(packet, fields, options: options, template: bytes, &output)
        if fits(options, arrival) {
            output.actions.append(.replace(arrival.metadata.id, range, .encrypted))
        } else {
            drop(arrival.metadata.id, &output)
            output.actions.append(.injectLocal(range))
        }
        endByReset(arrival.now, &output)
    }

    private func isFastClose(_ options: borrowing TCPOptions) -> Bool {
        guard case .fastClose(let key) = options.mptcpOption(isSYN: false) else { return false }
        return key == mptcp?.localKey
    }

    /// Both ends have all there was: what remains for the time of TIME-WAIT is little, as there may be very many.
    func retire(_ now: Instant) {
        guard removalDeadline == nil else { return }
        removalDeadline = now.adding(milliseconds: FlowTime.finished)
        send.giveBack(all: true)
        receive.giveBack(all: true)
        handshakeACK = nil
        header.template = []
        header.templatePacket = nil
        forgetKeys()
    }

    func endByReset(_ now: Instant, _ output: inout Output) {
        dropHeld(&output)
        engineDeadline = nil
        progressDeadline = nil
        redeliveryDeadline = nil
        sackDeadline = nil
        ackDeadline = nil
        doubt = nil
        doubtedReset = nil
        heldDeadline = nil
        rekeyDeadline = nil
        isReset = true
        removalDeadline = now.adding(milliseconds: FlowTime.reset)
    }

    /// Answers something unacceptable with an acknowledgement, not too often (RFC 5961 sections 5 and 10).
    func challenge(_ now: Instant, _ output: inout Output) {
        if let last = lastChallenge, now.milliseconds(since: last) < FlowTime.betweenChallenges { return }
        lastChallenge = now
        injectAck(now: now, &output)
    }

    /// A reset came that may have been meant, and the peer has said nothing since: it is asked again, for neither the question nor
    /// the reset that would answer it need have arrived.
    func doubtDue(_ now: Instant, _ output: inout Output) {
        guard var current = doubt, phase == .encrypted || phase == .keyExchange, !isReset, lastHeard <= current.since
        else {
            doubt = nil
            return
        }
        injectAck(now: now, &output)
        doubt = current.next() ? current : nil
    }

    // MARK: Aborts

    /// Ends an encrypted connection with an error at both ends.
    func abort(_ reason: AbortReason, now: Instant, _ output: inout Output) {
        guard phase != .aborted else { return }
        host.counters.aborts += 1
        output.actions.append(.log(.aborted(tuple, reason)))
        var keys: MPTCPKeys?
        if let mptcp {
            host.locked { keys = reason.isOfAll || mptcp.subflows <= 1 ? mptcp.keys : nil }
        }
        closingKeys = keys
        announceAbort(keys, now, &output)
        injectReset(keys, &output)
        if let keys { injectFastClose(keys, &output) }
        if keys == nil || !reason.isOfAll { output.actions.append(.destroySocket(tuple)) }
        dropHeld(&output)
        phase = .aborted
        forgetKeys()
        engineDeadline = nil
        progressDeadline = nil
        redeliveryDeadline = nil
        sackDeadline = nil
        ackDeadline = nil
        doubt = nil
        doubtedReset = nil
        heldDeadline = nil
        removalDeadline = now.adding(milliseconds: FlowTime.aborted)
    }

    /// Whether the peer has been promised encryption by a SYN-ACK: left alone, our kernel would take its Init1 for data.
    var hasPromisedEncryption: Bool {
        (phase == .accepting && accepting?.synAckSent != nil) || (phase == .opening && crossing?.isAnswered == true)
    }

    private func forgetKeys() {
        keyExchange = nil
        answered = nil
        secret = nil
        sealer = nil
        opener = nil
        accepting = nil
        rekeyDeadline = nil
    }

    private func announceAbort(_ keys: MPTCPKeys?, _ now: Instant, _ output: inout Output) {
        var options = TCPOptions()
        if let keys { options.append(MPTCPOption.fastClose(keys.remote).span) }
        announceReset(options, now, &output)
    }

    private func injectReset(_ keys: MPTCPKeys?, _ output: inout Output) {
        var options = TCPOptions()
        if let keys { options.append(MPTCPOption.fastClose(keys.remote).span) }
        injectOwn(send.sentW..<send.sentW, flags: [.rst, .ack], options: options, &output)
    }

    /// Ends the local kernel's MPTCP connection: bare resets of its subflows would leave it waiting for others.
    private func injectFastClose(_ keys: MPTCPKeys, _ output: inout Output) {
        var expected = [receive.deliveredK]
        if receive.acknowledgedK != receive.deliveredK { expected.append(receive.acknowledgedK) }
        // Half-open, it would take the acknowledgement for the third ACK, and have a connection in clear.
        let flags: TCPFlags = mayBeHalfOpen ? [.rst, .ack] : .ack
        for k in expected {
            host.injectFastClose(
                to: tuple, sequence: inOrigin.sequence(at: k),
                acknowledgment: outOrigin.sequence(at: send.acknowledgedK), flags: flags, key: keys.local, &output)
        }
    }

    /// Gives up everything whose verdict is pending.
    func dropHeld(_ output: inout Output) {
        for held in heldOutbound { drop(held.metadata.id, &output) }
        for held in heldOutbound { host.pending.outbound.release(held.load) }
        heldOutbound = []
        dropHeldInbound(&output)
    }

    private func dropHeldInbound(_ output: inout Output) {
        for held in receive.removeAllHeld() { giveUp(held, &output) }
    }

    // MARK: Time

    var patienceWithHeld: Int64 { isProven ? FlowTime.held : FlowTime.heldUnproven }

    /// The peer has nothing to show for itself: a connection of which only the handshake was real.
    private func proofDue(_ now: Instant, _ output: inout Output) {
        proofDeadline = nil
        guard !isProven, phase == .keyExchange || phase == .encrypted, !isReset else { return }
        giveUpUnproven(now, &output)
    }

    /// Ends what nobody has made or proved keys for.
    func giveUpUnproven(_ now: Instant, _ output: inout Output) {
        guard awaitsProof else { return abort(.handshakeTimeout, now: now, &output) }
        // Anybody may have sent it: it does not end the connection it named. The kernel has not seen its third ACK.
        dropHeld(&output)
        refuseJoin(.noProof, &output)
        forgetKeys()
        removalDeadline = now.adding(milliseconds: FlowTime.aborted)
    }

    /// A sender that has gone must not fill the queue with what it left behind.
    func forgetHeld(_ now: Instant, _ output: inout Output) {
        heldDeadline = nil
        guard !receive.held.isEmpty else { return }
        let due = lastHeard.adding(milliseconds: patienceWithHeld)
        guard due <= now else {
            heldDeadline = due
            return
        }
        guard receive.promisedW > receive.nextW else { return dropHeldInbound(&output) }
        // What the peer was told has arrived will not come again: it stays, but not in the kernel's queue.
        while let last = receive.popLastHeld(above: receive.promisedW - 1) { giveUp(last, &output) }
        let verdicts = receive.takeHeldVerdicts()
        releaseHeld(HeldLoad(packets: verdicts.count, bytes: 0))
        for id in verdicts { drop(id, &output) }
    }

    func note(roundTripSince start: Instant, _ now: Instant) {
        roundTrip = max(1_000_000, min(now.nanoseconds &- start.nanoseconds, 3_000_000_000))
    }

    /// The handshake of a busy moment may have taken much longer than the path does.
    func noteRoundTrip(_ w: Int, _ now: Instant) {
        guard let timed, w >= timed.w else { return }
        self.timed = nil
        // Of what was sent twice nobody knows which one is acknowledged.
        if let lastRepetition, lastRepetition >= timed.at { return }
        roundTrip = min(roundTrip, max(1_000_000, now.nanoseconds &- timed.at.nanoseconds))
    }

    /// Watches over engine-owned bytes that the peer has not acknowledged.
    func armEngineTimer(_ now: Instant) {
        guard !send.engineOwned.isEmpty else {
            engineDeadline = nil
            engineRetries = 0
            return
        }
        let base = max(FlowTime.leastRetransmission, roundTrip / 500_000)
        engineDeadline = now.adding(milliseconds: min(base << Int64(engineRetries), 30_000))
    }

    /// What is due; false when the flow is to be forgotten.
    func handleDeadlines(now: Instant, _ output: inout Output) -> Bool {
        if let due = removalDeadline, due <= now {
            // Only what has ended may be forgotten: a kernel that goes on would speak plaintext.
            guard isProtected, !isFinished, !isReset, phase != .aborted else { return false }
            removalDeadline = nil
        }
        if answered != nil { _ = finishAnswered(now, &output) }
        if let due = engineDeadline, due <= now { retransmit(now, &output) }
        if let due = progressDeadline, due <= now { acknowledgePieces(now, &output) }
        if let due = redeliveryDeadline, due <= now { redeliveryDue(now, &output) }
        if let due = sackDeadline, due <= now { sackDue(now, &output) }
        if let due = ackDeadline, due <= now {
            ackDeadline = nil
            if ackOwed { injectAck(now: now, &output) }
        }
        if let due = doubt?.due, due <= now { doubtDue(now, &output) }
        if let due = doubtedReset?.due, due <= now { resetDue(now, &output) }
        if let due = heldDeadline, due <= now { forgetHeld(now, &output) }
        if let due = finDeadline, due <= now { missingFINDue(now, &output) }
        if let due = proofDeadline, due <= now { proofDue(now, &output) }
        if let due = memoryDeadline, due <= now { memoryDue(now) }
        if let due = rekeyDeadline, due <= now { keyAgeDue(now, &output) }
        return true
    }

    /// Memory for what is under way stays while there is traffic: to get it anew for each flight takes longer than to fill it.
    func armMemoryTimer(_ now: Instant) {
        guard memoryDeadline == nil, send.holdsMemory || receive.holdsMemory else { return }
        memoryDeadline = now.adding(milliseconds: FlowTime.idleMemory)
    }

    private func memoryDue(_ now: Instant) {
        memoryDeadline = nil
        if now.milliseconds(since: lastActivity) >= FlowTime.idleMemory {
            send.giveBack(all: false)
            receive.giveBack(all: false)
        }
        armMemoryTimer(now)
    }

    private func retransmit(_ now: Instant, _ output: inout Output) {
        engineDeadline = nil
        guard phase == .keyExchange || phase == .encrypted, !isReset,
            let owned = send.engineOwned.first
        else { return }
        engineRetries += 1
        guard engineRetries <= FlowTime.mostRetries else {
            if sealer == nil || needsENO { abort(.handshakeTimeout, now: now, &output) }
            return
        }
        if needsENO && handshakeACK != nil {
            injectHandshakeACK(now: now, &output)
        } else if owned.upperBound <= send.dataEndW {
            let w = max(owned.lowerBound, send.retransmittableW)..<owned.upperBound
            injectOwn(w, flags: [.ack, .psh], options: ownOptions(now: now), &output)
        }
        armEngineTimer(now)
    }
}

extension MPTCPOption {
    /// MP_FASTCLOSE (RFC 8684 section 3.5) for the holder of `key`.
    static func fastClose(_ key: UInt64) -> [UInt8] {
        [TCPOptionKind.mptcp, 12, 0x70, 0] + UInt32(truncatingIfNeeded: key >> 32).bigEndianBytes
            + UInt32(truncatingIfNeeded: key).bigEndianBytes
    }
}

extension Host {
    /// A reset for whoever sent `packet`, at exactly the point it acknowledges (RFC 9293 section 3.10.7.1).
    func injectReset(
        answering packet: TCPPacket, _ metadata: PacketMetadata, keys: MPTCPKeys?, _ output: inout Output
    ) {
        guard !packet.flags.contains(.rst) else { return }
        let answersACK = packet.flags.contains(.ack)
        var options = TCPOptions()
        if let keys { options.append(MPTCPOption.fastClose(keys.remote).span) }
        let fields = TCPHeader(
            sequence: answersACK ? packet.acknowledgment : SequenceNumber(0),
            acknowledgment: packet.sequence + packet.sequenceLength, flags: [.rst, .ack], window: 0)
        guard
            let range = make(
                fields, from: packet.destination, to: packet.source, options: options, &output)
        else { return }
        counters.packetsInjected += 1
        output.actions.append(.inject(range, Egress(mark: metadata.mark, interface: 0)))
    }

    /// The same for anybody, as if no socket were here; not too often, since anybody can ask for it.
    ///
    /// - Parameter keys: those of an MPTCP connection that is to end altogether.
    func refuse(_ arrival: Arrival, keys: MPTCPKeys? = nil, _ output: inout Output) {
        guard refusals.admit(arrival.now) else { return }
        injectReset(answering: arrival.packet, arrival.metadata, keys: keys, &output)
    }

    /// An MP_FASTCLOSE for the local kernel.
    func injectFastClose(
        to tuple: FlowTuple, sequence: SequenceNumber, acknowledgment: SequenceNumber, flags: TCPFlags = .ack,
        key: UInt64, _ output: inout Output
    ) {
        var options = TCPOptions()
        options.append(MPTCPOption.fastClose(key).span)
        let fields = TCPHeader(sequence: sequence, acknowledgment: acknowledgment, flags: flags, window: 0)
        guard let range = make(fields, from: tuple.remote, to: tuple.local, options: options, &output) else { return }
        output.actions.append(.injectLocal(range))
    }

    /// Writes a packet from nothing, with as many zeros as data.
    func make(
        _ fields: TCPHeader, from source: Endpoint, to destination: Endpoint, options: borrowing TCPOptions,
        zeros: Int = 0, _ output: inout Output
    ) -> Range<Int>? {
        let template = HeaderTemplate.bytes(from: source, to: destination)
        guard let packet = try? TCPPacket(parsing: template.span) else { return nil }
        let count = packet.length(options: options, payloadCount: zeros)
        let start = output.allocate(count)
        var all = output.bytes.mutableSpan
        var target = all._mutatingExtracting(start..<start + count)
        for index in count - zeros..<count { target[index] = 0 }
        packet.write(fields, options: options, template: template.span, checksum: .full, into: &target)
        return start..<start + count
    }
}
