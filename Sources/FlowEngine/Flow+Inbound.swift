import DequeModule
import PacketWire
import Tcpcrypt

/// From the wire (W) to the local kernel (K).
extension Flow {
    /// A segment without SYN from the wire.
    func inbound(_ bytes: Span<UInt8>, _ arrival: Arrival, _ output: inout Output) {
        lastActivity = arrival.now
        lastHeard = arrival.now
        switch phase {
        case .opening where crossing?.isAnswered == true && !arrival.packet.flags.contains(.rst):
            if let crossing { receiveFirstCrossedACK(crossing, bytes, arrival, &output) }
        case .opening where isJoin && arrival.packet.flags.contains(.rst):
            deliverResetOfJoin(bytes, arrival, &output)
        case .opening:
            // The kernel knows what it sent: it answers, or is reset, in a space that has not split yet.
            // Any other reset it ignores (RFC 9293 section 3.10.7.3).
            if arrival.packet.flags.isSuperset(of: [.rst, .ack]),
                arrival.packet.acknowledgment == outOrigin.sequence(at: 0)
            {
                removalDeadline = arrival.now.adding(milliseconds: FlowTime.reset)
            }
            output.actions.append(.accept(arrival.metadata.id, phase == .opening ? .undecided : .plain))
        case .accepting:
            receiveFirstACK(bytes, arrival, &output)
        case .observing:
            observe(bytes, arrival, &output)
        case .plain:
            output.actions.append(.accept(arrival.metadata.id, .plain))
        case .aborted:
            host.refuse(arrival, keys: closingKeys, &output)
            drop(arrival.metadata.id, &output)
        case .keyExchange, .encrypted:
            translateInbound(bytes, arrival, &output)
        }
    }

    private func translateInbound(_ bytes: Span<UInt8>, _ arrival: Arrival, _ output: inout Output) {
        let packet = arrival.packet
        var options = TCPOptions(packet, of: bytes)
        if !isProven { armProofTimer(arrival.now) }
        if packet.flags.contains(.rst) { return receiveReset(bytes, options, arrival, &output) }
        if isReset, isResetByPeer || signedReset != nil {
            // What had been reset here says so again; what the peer has reset says nothing, or both would go on for ever.
            if !isResetByPeer { repeatReset(arrival.now, &output) }
            return drop(arrival.metadata.id, &output)
        }
        let start = inOrigin.offset(of: packet.sequence, near: receive.contiguousW)
        let segment = Segment(
            w: start..<start + packet.payload.count,
            isFIN: packet.flags.contains(.fin) || (packet.payload.isEmpty && isLostFIN(at: start)))
        let acknowledged = outOrigin.offset(of: packet.acknowledgment, near: send.acknowledgedW)
        guard packet.flags.contains(.ack), send.mayBeAcknowledged(acknowledged), isAcceptable(segment) else {
            challenge(arrival.now, &output)
            abandonStuckFrame(segment, arrival.now, &output)
            return drop(arrival.metadata.id, &output)
        }
        hear(packet, options, acknowledged, &output)
        if acknowledged >= send.acknowledgedW {
            noteAcknowledgement(acknowledged, Int(packet.window) << header.remoteScale, arrival.now)
        }
        options.remove(ENO.optionKind)
        if segment.isPure {
            deliverPureAck(bytes, options, segment, acknowledged, arrival, &output)
        } else if segment.endW <= receive.nextW {
            deliverAgain(bytes, options, segment, acknowledged, arrival, &output)
        } else {
            traffic.wireIn += UInt64(segment.w.count)
            if arrival.metadata.isGSO, isOfMPTCP, !receivesSuperPackets { tellOfSuperPackets() }
            take(bytes, options, segment, arrival, &output)
        }
        abandonStuckFrame(segment, arrival.now, &output)
        settle(arrival.now, &output)
    }

    /// The peer has answered: the empty ENO option has done its work (RFC 8547 section 4.6).
    ///
    /// An acknowledgement of nothing may come of a straggler from an earlier connection, to a peer that still waits for ENO.
    private func hear(
        _ packet: TCPPacket, _ options: borrowing TCPOptions, _ acknowledged: Int, _ output: inout Output
    ) {
        if acknowledged > 0 || !packet.payload.isEmpty {
            needsENO = false
            handshakeACK = nil
        }
        if !isFinished && !isReset { removalDeadline = nil }
        if lacksKeys { learnKeys(options.mptcpOption(isSYN: false), from: .inbound, &output) }
        if let timestamps = options.timestamps { header.hear(timestamp: timestamps.value) }
        header.remoteWindow = packet.window
    }

    private func noteAcknowledgement(_ w: Int, _ window: Int, _ now: Instant) {
        let before = send.acknowledgedW
        send.acknowledge(w, window: window)
        noteRoundTrip(w, now)
        if engineRetries > FlowTime.mostRetries {
            // It had been given up, and lives.
            engineRetries = 0
            return armEngineTimer(now)
        }
        guard w > before, engineDeadline != nil else { return }
        engineRetries = 0
        armEngineTimer(now)
    }

    /// What every packet from the wire may have made due.
    private func settle(_ now: Instant, _ output: inout Output) {
        guard phase == .encrypted || phase == .keyExchange else { return }
        if signsResets {
            handSignals(now, &output)
            guard !isReset else { return }
            tellAcknowledgment(now, &output)
        }
        if !send.backlog.isEmpty { flushBacklog(now, &output) }
        if ackOwed, ackDeadline == nil { ackDeadline = now.adding(milliseconds: FlowTime.delayedAck) }
        armProgressTimer(now)
        armRedeliveryTimer(now)
        armMemoryTimer(now)
        if isFinished { retire(now) }
    }

    // MARK: Acceptance

    /// Whether any of a segment lies where the local kernel has room, or has been (RFC 9293 section 3.10.7.4).
    private func isAcceptable(_ segment: Segment) -> Bool {
        let low = currentAckW - Self.oldest
        guard segment.w.lowerBound >= low else { return false }
        return segment.w.lowerBound <= rightEdgeIn + (segment.isPure ? 1 : 0)
            && (segment.w.isEmpty || segment.w.lowerBound < max(rightEdgeIn, currentAckW + 1))
    }

    func isInWindow(_ w: Int) -> Bool { w >= currentAckW && w <= rightEdgeIn }

    /// W offset at which the local kernel's window ends.
    private var rightEdgeIn: Int { max(receive.rightEdge, currentAckW + header.localWindow) }

    /// Duplicates and keep-alives from further back than any window are not of this connection.
    private static let oldest = 1 << 26

    // MARK: Pure acknowledgements

    private func deliverPureAck(
        _ bytes: Span<UInt8>, _ options: borrowing TCPOptions, _ segment: Segment, _ acknowledged: Int,
        _ arrival: Arrival, _ output: inout Output
    ) {
        if awaitsProof { return hold(bytes, segment, arrival, &output) }
        let w = segment.w.lowerBound
        if isMereSignOfLife(options, acknowledged) {
            if w < currentAckW { injectAck(now: arrival.now, &output) }
            return drop(arrival.metadata.id, &output)
        }
        let k: Int
        if w < currentAckW {
            // A question: the kernel has to see it as one, and answer.
            k = receive.acknowledgedK - 1
        } else if w >= receive.nextW {
            k = receive.deliveredK
        } else {
            k = max(receive.acknowledgedK, receive.map.k(standingBelow: w))
        }
        deliver(bytes, options, arrival.packet, arrival.metadata.id, k: k..<k, fin: false, acknowledged, &output)
    }

    /// A duplicate: its plaintext again, or, where the kernel has acknowledged all of it, an acknowledgement that says so.
    private func deliverAgain(
        _ bytes: Span<UInt8>, _ options: borrowing TCPOptions, _ segment: Segment, _ acknowledged: Int,
        _ arrival: Arrival, _ output: inout Output
    ) {
        if awaitsProof { return drop(arrival.metadata.id, &output) }
        redeliver(arrival.now, &output)
        let share = kShare(of: segment)
        let isKnown = share.range.upperBound + (share.fin ? 1 : 0) <= receive.acknowledgedK
        let ownsNoK = share.range.isEmpty && !share.fin
        if isKnown || ownsNoK {
            let k = receive.acknowledgedK
            deliver(bytes, options, arrival.packet, arrival.metadata.id, k: k..<k, fin: false, acknowledged, &output)
            // Answered here: the kernel answers questions seldom, and would not know which bytes came twice.
            injectAck(duplicate: segment.w.lowerBound..<segment.endW, now: arrival.now, &output)
        } else {
            deliver(
                bytes, options, arrival.packet, arrival.metadata.id, k: share.range, fin: share.fin, acknowledged,
                &output)
        }
    }

    // MARK: Delivery

    /// The K bytes, and the FIN, that a segment below ``ReceiveStream/nextW`` stands for.
    func kShare(of segment: Segment) -> (range: Range<Int>, fin: Bool) {
        let low = receive.map.k(standingBelow: segment.w.lowerBound)
        var high = receive.map.k(standingBelow: segment.w.upperBound)
        if let finK = receive.finK { high = min(high, finK) }
        let isEnd = segment.w.upperBound == receive.signedEndW
        let fin = isEnd && (segment.isFIN ? receive.finK != nil : !segment.w.isEmpty)
        let start = min(max(low, receive.acknowledgedK), max(high, low))
        return (start..<max(start, high), fin)
    }

    /// Hands the kernel a packet of the wire with its share of the plaintext.
    func deliver(
        _ bytes: Span<UInt8>, _ wireOptions: borrowing TCPOptions, _ packet: TCPPacket, _ id: PacketID?, k: Range<Int>,
        fin: Bool, _ acknowledged: Int, _ output: inout Output
    ) {
        var options = kernelOptions(wireOptions)
        refreshTimestamp(of: &options)
        if protectsSignals {
            return deliverMapped(bytes, options, packet, id, k: k, fin: fin, acknowledged, &output)
        }
        guard mayDeliver(&options, isEmpty: k.isEmpty && !fin) else { return dropPending(id, &output) }
        let range = composeDelivery(bytes, options, packet, k: k, fin: fin, acknowledged, &output)
        output.actions.append(id.map { .replace($0, range, .encrypted) } ?? .injectLocal(range))
        noteDelivered(k, fin: fin)
    }

    /// The local kernel is given `k`, and the end of it all if `fin`.
    func noteDelivered(_ k: Range<Int>, fin: Bool) {
        if fin, receive.finK == nil { receive.endsEarly = true }
        // What follows a gap waits in the kernel for held packets to fill it: nothing is acknowledged for it.
        if k.lowerBound <= receive.deliveredK {
            let end = k.upperBound + (fin ? 1 : 0)
            if end > receive.deliveredK { (receive.deliveredK, receive.deliveredAt) = (end, lastHeard) }
        }
        if !k.isEmpty || fin { ackOwed = false }
    }

    /// Whether the kernel was given some of a repeated segment and did not keep it: it would have acknowledged it by now.
    func wasDropped(_ segment: Segment, _ now: Instant) -> Bool {
        guard let deliveredAt = receive.deliveredAt, kShare(of: segment).range.lowerBound < receive.deliveredK else {
            return false
        }
        return now.milliseconds(since: deliveredAt) >= FlowTime.kernelAnswer
    }

    /// Whether nothing shows yet that the local kernel has got the third ACK.
    var mayBeHalfOpen: Bool { !isOpener && receive.acknowledgedK == 0 && send.queuedK == 0 }

    /// Drops a packet whose verdict has not been given yet.
    func dropPending(_ id: PacketID?, _ output: inout Output) {
        if let id { drop(id, &output) }
    }

    func composeDelivery(
        _ bytes: Span<UInt8>, _ options: borrowing TCPOptions, _ packet: TCPPacket, k: Range<Int>, fin: Bool,
        _ acknowledged: Int, _ output: inout Output
    ) -> Range<Int> {
        let count = packet.length(options: options, payloadCount: k.count)
        let start = output.allocate(count)
        var all = output.bytes.mutableSpan
        var target = all._mutatingExtracting(start..<start + count)
        receive.copyPlaintext(k, into: &target, at: count - k.count)
        let acknowledgedK = send.map.k(acknowledgedBy: acknowledged)
        header.toldAcknowledgedK = max(header.toldAcknowledgedK, acknowledgedK)
        var fields = TCPHeader(
            sequence: inOrigin.sequence(at: k.lowerBound), acknowledgment: outOrigin.sequence(at: acknowledgedK),
            flags: packet.flags,
            window: kernelWindow(acknowledged, packet.window))
        mark(&fields, k: k, fin: fin)
        packet.write(fields, options: options, template: bytes, checksum: .full, into: &target)
        return start..<start + count
    }

    /// Hands the kernel once more what it has not acknowledged although the peer has been told that it arrived:
    /// the kernel may drop what it is given, and the peer will not send this again.
    private func redeliver(_ now: Instant, _ output: inout Output) {
        if let last = lastRedelivery, now.nanoseconds - last.nanoseconds < betweenRedeliveries { return }
        guard !receive.promisedPackets.isEmpty else { return }
        lastRedelivery = now
        let edge = receive.acknowledgedK + max(1, header.localWindow)
        for held in receive.promisedPackets {
            let segment = Segment(w: held.w, isFIN: held.isFIN)
            let share = kShare(of: segment)
            guard share.range.lowerBound < edge else { return }
            guard !share.range.isEmpty else { continue }
            var options = TCPOptions(held.packet, of: held.bytes.span)
            options.remove(ENO.optionKind)
            options.remove(TCPOptionKind.sack)
            if protectsSignals {
                deliver(
                    held.bytes.span, options, held.packet, nil, k: share.range, fin: share.fin, send.acknowledgedW,
                    &output)
                continue
            }
            refreshTimestamp(of: &options)
            let range = composeDelivery(
                held.bytes.span, options, held.packet, k: share.range, fin: share.fin, send.acknowledgedW, &output)
            output.actions.append(.injectLocal(range))
        }
    }

    /// Watches over deliveries that only the engine would repeat.
    func armRedeliveryTimer(_ now: Instant) {
        guard !receive.promisedPackets.isEmpty, phase == .encrypted, !isReset else {
            redeliveryDeadline = nil
            redeliveries = 0
            return
        }
        guard redeliveryDeadline == nil else { return }
        let base = max(FlowTime.leastRetransmission, roundTrip / 500_000)
        redeliveryDeadline = now.adding(milliseconds: min(base << Int64(min(redeliveries, 8)), 30_000))
    }

    /// The local kernel has room for more of what it dropped, having read some of it: the next part follows at once. A peer's frame
    /// may be many times as long as its window.
    func hastenRedelivery(_ now: Instant) {
        guard redeliveries > 0, redeliveryDeadline != nil else { return }
        redeliveries = 1
        redeliveryDeadline = Instant(nanoseconds: now.nanoseconds + betweenRedeliveries)
    }

    private var betweenRedeliveries: Int64 { max(roundTrip, 10_000_000) }

    /// No acknowledgement has come from the local kernel.
    func redeliveryDue(_ now: Instant, _ output: inout Output) {
        redeliveryDeadline = nil
        redeliveries += 1
        if !isReset { redeliver(now, &output) }
        armRedeliveryTimer(now)
    }

    /// The peer's latest timestamp. That of a packet held behind a retransmission is older than the retransmission's, and the
    /// kernel would refuse it (RFC 7323 section 5).
    func refreshTimestamp(of options: inout TCPOptions) {
        guard let latest = header.timestampEcho,
            let range = options.range(of: TCPOptionKind.timestamps), range.count == 10
        else { return }
        options.setUInt32(latest, at: range.lowerBound + 2)
        // While our kernel may wait for the answer to its SYN-ACK it takes the echo of that one only. The peer may have heard later ones, of
        // the engine's own packets, or none, where the wire's SYN-ACK had no timestamps.
        guard mayBeHalfOpen else { return }
        options.setUInt32(header.synACKTimestamp, at: range.lowerBound + 6)
    }

    private func mark(_ fields: inout TCPHeader, k: Range<Int>, fin: Bool) {
        if fin { fields.flags.insert(.fin) } else { fields.flags.remove(.fin) }
        fields.flags.remove(.urg)
        guard receive.urgentEndK > k.lowerBound, !k.isEmpty else { return }
        fields.flags.insert(.urg)
        fields.urgentPointer = UInt16(clamping: receive.urgentEndK - k.lowerBound)
    }

    /// SACK blocks in K; the rest rides through.
    private func kernelOptions(_ wire: borrowing TCPOptions) -> TCPOptions {
        var options = copy wire
        guard options.contains(TCPOptionKind.sack) else { return options }
        var bytes: [UInt8] = [TCPOptionKind.sack, 0]
        for block in options.sackBlocks {
            let low = send.map.k(startingAtOrAbove: outOrigin.offset(of: block.start, near: send.acknowledgedW))
            let high = send.map.k(acknowledgedBy: outOrigin.offset(of: block.end, near: send.acknowledgedW))
            guard low < high else { continue }
            bytes += outOrigin.sequence(at: low).rawValue.bigEndianBytes
            bytes += outOrigin.sequence(at: high).rawValue.bigEndianBytes
        }
        options.remove(TCPOptionKind.sack)
        bytes[1] = UInt8(bytes.count)
        if bytes.count > 2 { options.append(bytes.span) }
        return options
    }

    /// Before a subflow is fully established, a packet without the MPTCP option that the kernel waits for makes it fall back or
    /// reset (DESIGN.md section 5): those without data stop here. Data without it, or the acknowledgement of data, means that the peer
    /// has fallen back.
    func mayDeliver(_ options: inout TCPOptions, isEmpty: Bool) -> Bool {
        guard mptcp != nil else { return true }
        if isEmpty { options.dropMPTCPDataLength() }
        if !kernelEstablished { kernelEstablished = !isEmpty || completesHandshake(options) }
        return kernelEstablished
    }

    private func completesHandshake(_ options: borrowing TCPOptions) -> Bool {
        if isOpener, protectsSignals { return signalling.hasHeardDSS || signalling.hasHeardFallback }
        if isOpener { return options.contains(TCPOptionKind.mptcp) || (!isJoin && send.acknowledgedK > 0) }
        if isJoin { return options.mayBeJoin }
        guard case .capableACK = options.mptcpOption(isSYN: false) else { return false }
        return true
    }
}

/// The place of a segment in the wire stream.
struct Segment: Sendable {
    var w: Range<Int>
    var isFIN: Bool

    var isPure: Bool { w.isEmpty && !isFIN }
    /// Behind the FIN, if there is one.
    var endW: Int { w.upperBound + (isFIN ? 1 : 0) }
}
