import DequeModule
import PacketWire
import Tcpcrypt

/// From arriving pieces to whole messages and frames, and from these to the packets that brought them.
extension Flow {
    /// Takes a segment that brings something new.
    func take(
        _ bytes: Span<UInt8>, _ options: borrowing TCPOptions, _ segment: Segment, _ arrival: Arrival,
        _ output: inout Output
    ) {
        guard !isFinished else {
            // Nothing lies behind the end.
            injectAck(now: arrival.now, &output)
            return drop(arrival.metadata.id, &output)
        }
        // Where too many strangers want keys exchanged, a message waits for its own repetition.
        guard opener != nil || role == .a || answered != nil || host.keyExchanges.hasRoom(arrival.now) else {
            host.counters.keyExchangesPutOff += 1
            return drop(arrival.metadata.id, &output)
        }
        let isNext = segment.w.lowerBound <= receive.nextW && receive.held.isEmpty
        if isNext {
            consume(bytes.extracting(arrival.packet.payload), at: segment.w.lowerBound, arrival.now, &output)
            guard phase == .encrypted || phase == .keyExchange else { return drop(arrival.metadata.id, &output) }
            takeFIN(segment, arrival.now, &output)
            guard phase == .encrypted || phase == .keyExchange else { return drop(arrival.metadata.id, &output) }
            if receive.endsEarly, receive.isFinished {
                // The kernel has had its FIN, and may have forgotten the connection.
                injectAck(now: arrival.now, &output)
                return drop(arrival.metadata.id, &output)
            }
            if receive.nextW >= segment.w.upperBound && !awaitsProof {
                let share = kShare(of: segment)
                let acknowledged = outOrigin.offset(of: arrival.packet.acknowledgment, near: send.acknowledgedW)
                return deliver(
                    bytes, options, arrival.packet, arrival.metadata.id, k: share.range, fin: share.fin, acknowledged,
                    &output)
            }
            if hasFailed { return dropFailed(segment, bytes, arrival, &output) }
        }
        hold(bytes, segment, arrival, &output)
    }

    /// Consumes whole units from one packet, without a copy.
    private func consume(_ payload: Span<UInt8>, at w: Int, _ now: Instant, _ output: inout Output) {
        hasFailed = false
        while phase == .encrypted || phase == .keyExchange {
            let position = receive.nextW - w
            guard position >= 0, position < payload.count, finishAnswered(now, &output) else { return }
            let rest = payload.extracting(position..<payload.count)
            guard let length = unitLength(rest, now, &output), length <= rest.count else { return }
            guard consumeUnit(rest.extracting(0..<length), now, &output) else { return }
        }
    }

    /// The length of the message or frame that begins with `prefix`; nil while too little of it is here.
    private func unitLength(_ prefix: Span<UInt8>, _ now: Instant, _ output: inout Output) -> Int? {
        if opener != nil {
            guard prefix.count >= Frame.controlLength else { return nil }
            guard let control = Frame.parseControl(prefix) else {
                fail(now, &output)
                return nil
            }
            return control.length
        }
        do {
            return role == .a ? try Init2.messageLength(prefix: prefix) : try Init1.messageLength(prefix: prefix)
        } catch {
            abort(.badInit, now: now, &output)
            return nil
        }
    }

    /// Takes one whole message or frame that begins at ``ReceiveStream/nextW``; false when it is no good.
    private func consumeUnit(_ unit: Span<UInt8>, _ now: Instant, _ output: inout Output) -> Bool {
        if opener == nil { return exchangeKeys(unit, now, &output) }
        let isBehindEnd = receive.signedEndW != nil
        guard let frame = open(unit, &host.plainScratch) else {
            fail(now, &output)
            return false
        }
        guard !isBehindEnd else {
            abort(.dataAfterFIN, now: now, &output)
            return false
        }
        if frame.dataLength == 0 { ackOwed = true }
        if frame.fin {
            receive.signedEndW = receive.nextW
            finDeadline = now.adding(milliseconds: Self.missingFIN)
        }
        if frame.rekey, !isReset { answerRekey(now, &output) }
        guard phase != .aborted else { return false }
        return proofOwed.map { prove($0, now, &output) } ?? true
    }

    /// Opens the frame at ``ReceiveStream/nextW`` and appends its plaintext; nil where it does not authenticate.
    private func open(_ unit: Span<UInt8>, _ scratch: inout [UInt8]) -> OpenedFrame? {
        let offset = UInt64(receive.nextW)
        let k = receive.nextK
        let frame = receive.append(wCount: unit.count, spare: &scratch) { target in
            opener?.open(unit, offset: offset, into: &target)
        }
        guard let frame else { return nil }
        host.counters.framesOpened += 1
        if isOfferComplete { confirmSession() }
        receive.failures.clear()
        receive.unsignedFINs.clear()
        doubtedReset = nil
        if signsResets { take(frame, k: k..<k + frame.dataLength) }
        if let urgent = frame.urgent { receive.urgentEndK = k + Int(urgent) + 1 }
        traffic.plainIn += UInt64(frame.dataLength)
        return frame
    }

    /// A frame authenticated, so that nobody altered the offer which the session's TEP was chosen from.
    private func confirmSession() {
        isOfferComplete = false
        guard origin == .fresh, let sessionChain else { return }
        host.locked { sessionChain.isConfirmed = true }
    }

    /// The first authenticated frame proves that the peer holds the secret it named: only now is that spent (DESIGN.md section 4).
    private func prove(_ index: Int, _ now: Instant, _ output: inout Output) -> Bool {
        guard spend(index) else {
            abort(.secretReused, now: now, &output)
            return false
        }
        secretProven(&output)
        return true
    }

    private func spend(_ index: Int) -> Bool {
        if isJoin { return mptcp?.acceptingChain?.spend(index) ?? false }
        return sessionChain.map { host.sessions.spend($0, index) } ?? false
    }

    // MARK: Held packets

    /// Keeps a packet whose verdict is not known yet, and finds out what it completes.
    func hold(_ bytes: Span<UInt8>, _ segment: Segment, _ arrival: Arrival, _ output: inout Output) {
        // It waits for a frame to be whole; what the kernel needs of it does not.
        if wasDropped(segment, arrival.now) { deliverGoodPart(bytes, arrival.packet, nil, segment.w, &output) }
        if !segment.isPure, receive.holdsAll(of: segment.w),
            !segment.isFIN || receive.holdsFIN(at: segment.w.upperBound)
        {
            guard replaceForged(bytes.extracting(arrival.packet.payload), segment, arrival.now, &output) else {
                if phase != .aborted {
                    acknowledgeRepeated(upTo: segment.w.upperBound, arrival.now)
                    let duplicate = segment.w.lowerBound..<segment.endW
                    injectAck(latest: segment.w.lowerBound, duplicate: duplicate, now: arrival.now, &output)
                }
                return drop(arrival.metadata.id, &output)
            }
        }
        if let end = receive.signedEndW, segment.w.upperBound > end {
            // No frame of the peer's that is whole yet, and none that ever will be.
            injectAck(now: arrival.now, &output)
            return drop(arrival.metadata.id, &output)
        }
        guard admit(segment, bytes: bytes.count, &output) else { return drop(arrival.metadata.id, &output) }
        let before = receive.contiguousW
        let duplicate = receive.held.firstOverlap(with: segment.w)
        let dropped = receive.hold(
            HeldPacket(id: arrival.metadata.id, bytes: bytes.array(), packet: arrival.packet, w: segment.w))
        for packet in dropped { giveUp(packet, &output) }
        lateness.note(
            hole: receive.held.hole(from: receive.contiguousW), arrival.now, roundTrip: roundTrip)
        heldDeadline = heldDeadline ?? arrival.now.adding(milliseconds: patienceWithHeld)
        let isBeyondHole = segment.w.lowerBound > before
        if receive.contiguousW > before || segment.w.lowerBound <= receive.nextW {
            consumeHeld(arrival.now, &output)
        }
        guard phase == .encrypted || phase == .keyExchange else { return }
        if receive.hasPartialFrame, receive.holdsFIN(at: receive.contiguousW) {
            // The stream ends inside a frame: one of the two is forged, and what is held can never become whole.
            if receive.unsignedFINs.note(arrival.now) { return abort(.unsignedFIN, now: arrival.now, &output) }
            fail(arrival.now, &output)
            guard phase != .aborted else { return }
            return dropHeldFailure(receive.contiguousW - receive.nextW + 1, arrival.now, &output)
        }
        if isBeyondHole && !segment.w.isEmpty {
            acknowledgeOutOfOrder(segment, duplicate: duplicate, arrival.now, &output)
        } else if receive.promisedW > receive.nextW, receive.contiguousW > receive.promisedW {
            // The sender's window is small: every piece counts.
            acknowledgePieces(arrival.now, &output)
        } else if receive.contiguousW > before, receive.hasPartialFrame, receive.held.hasHole, header.usesSACK {
            // It fills a hole, or part of one, but completes nothing: a kernel would acknowledge it at once, so that the
            // sender goes on repairing.
            injectAck(latest: segment.w.lowerBound, duplicate: duplicate, now: arrival.now, &output)
        }
    }

    /// Whether there is room for one more held packet. For what comes next in the stream the last one goes.
    private func admit(_ segment: Segment, bytes: Int, _ output: inout Output) -> Bool {
        let isNext = segment.w.lowerBound <= receive.contiguousW
        if !isNext && receive.held.isTooScattered(segment.w) { return false }
        while !admitHeld(segment, bytes: bytes) {
            if isNext, keepInMemory(&output) { continue }
            guard isNext, let last = receive.popLastHeld(above: segment.w.lowerBound) else { return false }
            giveUp(last, &output)
        }
        return true
    }

    /// A message of the key exchange may come in more pieces than a peer without keys has places in the kernel's queue for: its
    /// pieces move into memory. No kernel waits for them.
    ///
    /// - Returns: whether there are places again.
    private func keepInMemory(_ output: inout Output) -> Bool {
        guard opener == nil, !receive.held.hasHole else { return false }
        let verdicts = receive.takeHeldVerdicts()
        releaseHeld(HeldLoad(packets: verdicts.count, bytes: 0))
        for id in verdicts { drop(id, &output) }
        return !verdicts.isEmpty
    }

    /// A packet that is held no longer, without having reached the kernel.
    func giveUp(_ packet: HeldPacket, _ output: inout Output) {
        releaseHeld(packet)
        dropPending(packet.id, &output)
    }

    /// A repetition that differs from what is held: one of the two is forged, and this is the one the sender goes
    /// on repeating. False where both are the same.
    private func replaceForged(
        _ payload: Span<UInt8>, _ segment: Segment, _ now: Instant, _ output: inout Output
    ) -> Bool {
        let new = max(segment.w.lowerBound, receive.nextW)..<segment.w.upperBound
        guard !new.isEmpty, receive.gather(new, into: &host.unitScratch) else { return false }
        let skip = new.lowerBound - segment.w.lowerBound
        let isSame = (0..<new.count).allSatisfy { host.unitScratch[$0] == payload[skip + $0] }
        guard !isSame else { return false }
        // The packets that go may reach further back than this one.
        guard receive.promisedW <= min(new.lowerBound, receive.held.start(covering: new.lowerBound)) else {
            // What was acknowledged cannot be exchanged.
            abort(.authentication, now: now, &output)
            return false
        }
        for packet in receive.removeHeld(touching: new) { giveUp(packet, &output) }
        return true
    }

    /// Consumes what held packets complete, and releases those that are done with.
    private func consumeHeld(_ now: Instant, _ output: inout Output) {
        while phase == .encrypted || phase == .keyExchange {
            guard receive.contiguousW == receive.nextW || finishAnswered(now, &output) else { break }
            guard consumeNextHeld(&host.unitScratch, now, &output) else { break }
        }
        let excess = receive.signedEndW.map { receive.removeHeld(endingAbove: $0) } ?? []
        release(now, &output)
        for held in excess {
            releaseHeld(held)
            deliverGoodPart(held.bytes.span, held.packet, held.id, held.w, &output)
        }
    }

    private func consumeNextHeld(_ scratch: inout [UInt8], _ now: Instant, _ output: inout Output) -> Bool {
        let start = receive.nextW
        let available = receive.contiguousW - start
        let prefix = min(available, opener == nil ? Init1.prefixLength : Frame.controlLength)
        hasFailed = false
        guard prefix > 0, receive.gather(start..<start + prefix, into: &scratch) else { return false }
        guard let length = unitLength(scratch.span.extracting(0..<prefix), now, &output) else {
            if hasFailed { dropHeldFailure(prefix, now, &output) }
            return false
        }
        guard length <= available, length <= scratch.count,
            receive.gather(start..<start + length, into: &scratch)
        else { return false }
        let isGood = consumeUnit(scratch.span.extracting(0..<length), now, &output)
        if !isGood && hasFailed { dropHeldFailure(length, now, &output) }
        return isGood
    }

    /// Delivers held packets that lie below ``ReceiveStream/nextW``, each with its own share.
    private func release(_ now: Instant, _ output: inout Output) {
        while phase == .encrypted || phase == .keyExchange, !awaitsProof, let held = receive.popComplete() {
            let segment = Segment(w: held.w, isFIN: held.isFIN)
            takeFIN(segment, now, &output)
            guard phase != .aborted else { return giveUp(held, &output) }
            releaseHeld(held)
            var options = TCPOptions(held.packet, of: held.bytes.span)
            options.remove(ENO.optionKind)
            let share = kShare(of: segment)
            let acknowledged = outOrigin.offset(of: held.packet.acknowledgment, near: send.acknowledgedW)
            receive.keepPromised(held)
            deliver(
                held.bytes.span, options, held.packet, held.id, k: share.range, fin: share.fin, acknowledged, &output)
            receive.releasedK = receive.deliveredK
        }
    }

    /// A FIN counts if the peer signed it, at exactly this place (RFC 8548 section 3.7).
    private func takeFIN(_ segment: Segment, _ now: Instant, _ output: inout Output) {
        guard segment.isFIN, segment.w.upperBound == receive.nextW, receive.finK == nil else { return }
        if receive.signedEndW == segment.w.upperBound {
            finDeadline = nil
            return receive.appendFIN()
        }
        if receive.unsignedFINs.note(now) {
            abort(.unsignedFIN, now: now, &output)
        } else if receive.unsignedFINs.shouldAsk(now) {
            initiateRekeying(now, &output)
        }
    }

    // MARK: Failures

    /// Counts a frame that did not authenticate.
    private func fail(_ now: Instant, _ output: inout Output) {
        hasFailed = true
        lastFailure = now
        traffic.authFailures += 1
        host.counters.authFailures += 1
        // Behind its last frame the peer has nothing to say: no reason to end what is whole.
        guard receive.signedEndW == nil else { return }
        let areTooMany = receive.failures.note(now)
        // What has been acknowledged cannot come again.
        if receive.promisedW > receive.nextW || areTooMany {
            abort(.authentication, now: now, &output)
        }
    }

    /// Drops a packet that brought a bad frame; what came before that frame in it is delivered.
    private func dropFailed(
        _ segment: Segment, _ bytes: Span<UInt8>, _ arrival: Arrival, _ output: inout Output
    ) {
        deliverGoodPart(bytes, arrival.packet, arrival.metadata.id, segment.w, &output)
        injectAck(now: arrival.now, &output)
    }

    /// Drops every held packet that a bad frame touches, and forgets that they arrived: the genuine ones come again.
    private func dropHeldFailure(_ length: Int, _ now: Instant, _ output: inout Output) {
        let bad = receive.nextW..<receive.nextW + max(1, length)
        for held in receive.removeHeld(touching: bad) {
            releaseHeld(held)
            deliverGoodPart(held.bytes.span, held.packet, held.id, held.w, &output)
        }
        injectAck(now: now, &output)
    }

    private func deliverGoodPart(
        _ bytes: Span<UInt8>, _ packet: TCPPacket, _ id: PacketID?, _ w: Range<Int>, _ output: inout Output
    ) {
        let good = Segment(w: w.lowerBound..<max(w.lowerBound, min(w.upperBound, receive.nextW)), isFIN: false)
        let share = kShare(of: good)
        guard !share.range.isEmpty, !awaitsProof else { return dropPending(id, &output) }
        var options = TCPOptions(packet, of: bytes)
        options.remove(ENO.optionKind)
        let acknowledged = outOrigin.offset(of: packet.acknowledgment, near: send.acknowledgedW)
        deliver(bytes, options, packet, id, k: share.range, fin: false, acknowledged, &output)
    }

    // MARK: Frames larger than the sender's window

    /// Watches a frame of which only a part is here.
    func armProgressTimer(_ now: Instant) {
        guard receive.hasPartialFrame, phase == .encrypted || phase == .keyExchange else {
            progressDeadline = nil
            return
        }
        guard progressDeadline == nil || receive.contiguousW != progressW else { return }
        progressW = receive.contiguousW
        guard receive.contiguousW > receive.promisedW else {
            // All of it is acknowledged. A sender that has sent less than that says so when it is told again.
            progressDeadline = now.adding(milliseconds: FlowTime.stuckFrame + FlowTime.reset)
            return
        }
        // Where somebody forges, what is held may be forged too, and is not to be acknowledged before the sender has repeated it.
        let isSuspicious = lastFailure.map { now.milliseconds(since: $0) < FlowTime.suspicion } ?? false
        // A sender whose window is the limit has more to send: segments that are not the last of a write. What looks like
        // the end of something is whole in the sender's eyes; if its length was forged on the way, both ends would wait for ever.
        // Linux marks what it repeats after a timeout in the same way: that its window is small was learnt when pieces came twice.
        let hasSmallWindow = promisedAt.map { now.milliseconds(since: $0) < FlowTime.lossy } ?? false
        let looksLast = !hasSmallWindow && receive.held.looksLast(endingAt: receive.contiguousW)
        let patience = isSuspicious || looksLast ? FlowTime.suspiciousProgress : FlowTime.leastProgress
        progressDeadline = now.adding(milliseconds: max(patience, roundTrip / 1_000_000))
    }

    /// Acknowledges the pieces of a frame that cannot complete because the sender waits for just that.
    func acknowledgePieces(_ now: Instant, _ output: inout Output) {
        progressDeadline = nil
        guard promise(upTo: max(receive.contiguousW, receive.promisedW), now) else { return }
        injectAck(now: now, &output)
        armProgressTimer(now)
    }

    /// Acknowledges pieces of a frame that have come twice, and the same both times: these are the sender's own.
    private func acknowledgeRepeated(upTo w: Int, _ now: Instant) {
        guard w <= receive.contiguousW, w > receive.promisedW, receive.held.start(covering: w) == w else { return }
        _ = promise(upTo: w, now)
    }

    private func promise(upTo w: Int, _ now: Instant) -> Bool {
        guard receive.hasPartialFrame, phase == .encrypted || phase == .keyExchange else { return false }
        // It covers everything below: what the kernel may have lost must not be among that, unless it was promised before.
        guard receive.acknowledgedK >= receive.deliveredK || receive.promisedW > receive.nextW else { return false }
        if w > receive.promisedW { (receive.promisedW, promisedAt) = (w, now) }
        return true
    }

    /// Forged pieces that were acknowledged: the sender, long after, still stands or ends in front of them, and would
    /// wait as long as we do.
    func abandonStuckFrame(_ segment: Segment, _ now: Instant, _ output: inout Output) {
        guard receive.promisedW > receive.nextW, let promisedAt, phase == .encrypted || phase == .keyExchange,
            segment.w.isEmpty || segment.isFIN, segment.w.upperBound < receive.promisedW
        else { return }
        // Questions ask from one byte below what was acknowledged.
        let isQuestion = segment.w.upperBound == receive.promisedW - 1
        let patience = isQuestion ? FlowTime.stuckFrameAskedFor : FlowTime.stuckFrame
        if now.milliseconds(since: promisedAt) > patience { abort(.authentication, now: now, &output) }
    }
}

extension AbortReason {
    init(_ error: KeyExchangeError) {
        switch error {
        case .badPublicKey: self = .publicKey
        case .unofferedAEAD, .noCommonAEAD: self = .cipher
        default: self = .badInit
        }
    }
}
