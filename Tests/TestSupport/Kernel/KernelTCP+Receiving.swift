public import FlowEngine
import PacketWire

/// Segments that arrive.
extension KernelTCP {
    /// Takes a packet from the device or the engine.
    public func receive(_ wire: WirePacket, now: Instant) {
        guard let packet = wire.parsed, state != .closed else { return }
        guard wire.hasPartialChecksum || PacketBuilder.hasValidChecksums(wire.bytes, packet) else {
            if !wire.isForged { violations.append("bad checksum") }
            return
        }
        if random.chance(configuration.dropRate), mayDrop(packet) { return note(.kernelDrop) }
        if wire.segmentSize != nil { note(.superPacketIn) }
        switch state {
        case .synSent: receiveInSynSent(packet, wire.bytes, now)
        case .synReceived:
            if receiveInSynReceived(packet, wire.bytes, now) { receiveEstablished(packet, wire.bytes, now) }
        case .established: receiveEstablished(packet, wire.bytes, now)
        case .timeWait: receiveInTimeWait(packet, now)
        case .closed: break
        }
    }

    /// A join that gets data before its fourth ACK is reset (RFC 8684 section 3.2), with an engine or without.
    private func mayDrop(_ packet: TCPPacket) -> Bool {
        !packet.flags.contains(.syn) && !(subflow?.mustWait ?? false)
    }

    /// Whether a SYN begins a new connection where this one lingers in TIME-WAIT (RFC 6191, RFC 9293 section 3.6.1).
    func yields(to packet: TCPPacket, _ options: borrowing TCPOptions) -> Bool {
        guard state == .timeWait, packet.flags.contains(.syn), packet.flags.isDisjoint(with: [.ack, .rst]) else {
            return false
        }
        let isLater = inOrigin.offset(of: packet.sequence, near: rcvNxt) > rcvNxt
        let isYounger = options.timestamps.map { usesTimestamps && Int32(bitPattern: $0.value &- tsRecent) > 0 }
        guard isLater || isYounger ?? false else { return false }
        note(.reuse)
        state = .closed
        return true
    }

    private func receiveInTimeWait(_ packet: TCPPacket, _ now: Instant) {
        if packet.flags.contains(.rst) {
            // Linux does not mind the assassination of TIME-WAIT (RFC 1337).
            if packet.sequence == inOrigin.sequence(at: rcvNxt) { state = .closed }
        } else if packet.sequenceLength > 0 || !isAcceptable(packet) {
            sendAck(now)
        }
    }

    /// RFC 9293 section 3.10.7.4, the way Linux does it.
    func isAcceptable(_ packet: TCPPacket) -> Bool {
        let start = inOrigin.offset(of: packet.sequence, near: rcvNxt)
        return start + packet.sequenceLength >= rcvWup && start <= max(rcvNxt, advertisedEdge)
    }

    private func receiveEstablished(_ packet: TCPPacket, _ bytes: [UInt8], _ now: Instant) {
        let options = TCPOptions(packet, of: bytes.span)
        let start = inOrigin.offset(of: packet.sequence, near: rcvNxt)
        let isReset = packet.flags.contains(.rst)
        // As Linux does, 0 is taken for unknown.
        if usesTimestamps, tsRecent != 0, let value = options.timestamps?.value, !isReset,
            Int32(bitPattern: value &- tsRecent) < 0
        {
            return refuse(packet, start: start, now)
        }
        guard isAcceptable(packet) else {
            if !isReset { refuse(packet, start: start, now) }
            return
        }
        if isReset {
            if start == rcvNxt { die(.reset) } else { sendChallenge(now) }
            return
        }
        if packet.flags.contains(.syn) { return sendChallenge(now) }
        guard packet.flags.contains(.ack) else { return }
        if usesTimestamps, let value = options.timestamps?.value, start <= rcvWup { tsRecent = value }
        guard processAck(packet, options, now), processMPTCP(packet, options, start: start, now) else { return }
        armKeepAlive(now)
        receiveData(packet, bytes, start: start, now)
        transmit(now)
        closeIfDone(now)
    }

    /// A segment outside the window: a duplicate acknowledgement, with a D-SACK for data.
    private func refuse(_ packet: TCPPacket, start: Int, _ now: Instant) {
        if packet.payload.isEmpty { return sendChallenge(now) }
        beQuick()
        if start < rcvNxt { dsack = start..<min(rcvNxt, start + packet.payload.count) }
        sendAck(now)
    }

    private func processMPTCP(
        _ packet: TCPPacket, _ options: borrowing TCPOptions, start: Int, _ now: Instant
    ) -> Bool {
        guard subflow != nil else { return true }
        let wasWaiting = subflow?.mustWait ?? false
        let payload = start..<start + packet.payload.count
        let wasFallback = subflow?.hasFallenBack ?? false
        let verdict = subflow?.receive(options, at: start)
        if !payload.isEmpty, subflow?.place(payload, by: options) == false {
            violations.append("data \(payload) under another's DSS mapping")
        }
        if !wasFallback, start == 0, verdict == .fallBack || verdict == .reset, SubflowModel.hasMapping(options) {
            violations.append("a first mapping without an acknowledgement of data")
        }
        if verdict == .reset {
            emit(flags: [.rst, .ack], now: now)
            die(.protocolViolation)
            return false
        }
        if wasWaiting, !(subflow?.mustWait ?? false) { retransmitDeadline = nil }
        return true
    }

    private func receiveData(_ packet: TCPPacket, _ bytes: [UInt8], start: Int, _ now: Instant) {
        var data = bytes[packet.payload]
        let end = start + data.count
        if packet.flags.contains(.urg) { peerUrgentEnd = max(peerUrgentEnd, start + Int(packet.urgentPointer)) }
        let limit = max(rcvNxt, advertisedEdge)
        if end > limit { data = data.dropLast(min(data.count, end - limit)) }
        if packet.flags.contains(.fin), end <= limit { noteFIN(at: end) }
        if data.isEmpty && !packet.flags.contains(.fin) { return }
        if start > rcvNxt {
            dsack = data.isEmpty ? nil : reassembly.insert(data, at: start)
            if random.chance(configuration.dropRate) { reassembly.prune() }
            return sendAck(now)
        }
        if end <= rcvNxt && !(packet.flags.contains(.fin) && end == rcvNxt && !hasReceivedFIN) {
            if !data.isEmpty { dsack = start..<end }
            beQuick()
            return sendAck(now)
        }
        appendInOrder(data.dropFirst(min(data.count, rcvNxt - start)), now)
    }

    private func noteFIN(at offset: Int) {
        guard let known = peerFIN, known != offset else {
            peerFIN = offset
            return
        }
        violations.append("FIN at \(offset) and at \(known)")
    }

    private func appendInOrder(_ data: ArraySlice<UInt8>, _ now: Instant) {
        let hadHole = !reassembly.isEmpty
        if lastDataArrival.map({ now.milliseconds(since: $0) > retransmissionTimeoutMilliseconds }) ?? true {
            beQuick()
        }
        lastDataArrival = now
        inbox += data
        rcvNxt += data.count
        let more = reassembly.pop(at: rcvNxt)
        inbox += more
        rcvNxt += more.count
        for data in subflow?.consume(upTo: rcvNxt) ?? [] { violations.append("data \(data) without a DSS mapping") }
        unacknowledgedSegments += (data.count + mss - 1) / mss
        if let peerFIN, rcvNxt == peerFIN, !hasReceivedFIN {
            if sndNxt > writeEnd, una <= writeEnd { note(.simultaneousClose) }
            hasReceivedFIN = true
            rcvNxt += 1
            return sendAck(now)
        }
        if hadHole || unacknowledgedSegments >= 2 || quickAcks > 0 {
            quickAcks = max(0, quickAcks - 1)
            sendAck(now)
        } else {
            delayAck(now)
        }
    }

    /// The sender begins, or has failed: it needs every acknowledgement.
    private func beQuick() { if configuration.usesQuickAcks { quickAcks = 16 } }

    func delayAck(_ now: Instant) {
        owesAck = true
        if delayedAckDeadline == nil {
            delayedAckDeadline = now.adding(milliseconds: configuration.delayedAckMilliseconds)
        }
    }
}
