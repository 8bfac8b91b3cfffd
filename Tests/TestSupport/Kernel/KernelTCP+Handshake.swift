public import FlowEngine
import PacketWire

/// The three-way handshake in both roles.
extension KernelTCP {
    /// The active open: sends the SYN.
    public func connect(now: Instant) {
        sendSYN(now)
        handshakeSent = now
        sndNxt = 0
        una = -1
        retransmitDeadline = now.adding(milliseconds: 1000)
    }

    private func sendSYN(_ now: Instant) {
        var options = TCPOptions()
        options.setMaximumSegmentSize(UInt16(configuration.mtu - (tuple.local.address.isIPv6 ? 60 : 40)))
        if configuration.usesSACK { options.append([TCPOptionKind.sackPermitted, 2]) }
        if configuration.usesTimestamps { options.append(timestampOption(now)) }
        if let scale = configuration.windowScale { options.append([TCPOptionKind.windowScale, 3, UInt8(scale)]) }
        if let subflow { options.append(subflow.synOption(isAck: false)) }
        emit(at: -1, flags: [.syn], options: options, now: now)
    }

    private func sendSYNACK(_ now: Instant) {
        var options = TCPOptions()
        options.setMaximumSegmentSize(UInt16(configuration.mtu - (tuple.local.address.isIPv6 ? 60 : 40)))
        if usesSACK { options.append([TCPOptionKind.sackPermitted, 2]) }
        if usesTimestamps { options.append(timestampOption(now)) }
        if peerOffersScale, let scale = configuration.windowScale {
            options.append([TCPOptionKind.windowScale, 3, UInt8(scale)])
        }
        if let subflow { options.append(subflow.synOption(isAck: true)) }
        emit(at: -1, flags: [.syn, .ack], options: options, now: now)
    }

    /// Sends the SYN or SYN-ACK again.
    func repeatHandshake(_ now: Instant) {
        guard backoff < 6 else { return die(.timeout) }
        if state == .synSent { sendSYN(now) } else { sendSYNACK(now) }
        backoff += 1
        handshakeSent = nil
        retransmitDeadline = now.adding(milliseconds: 1000 << Int64(backoff))
    }

    /// The passive open: answers the SYN this socket was made for.
    public func accept(_ packet: TCPPacket, _ bytes: [UInt8], now: Instant) {
        let options = TCPOptions(packet, of: bytes.span)
        negotiate(packet, options)
        sendSYNACK(now)
        handshakeSent = now
        sndNxt = 0
        retransmitDeadline = now.adding(milliseconds: 1000)
    }

    private func negotiate(_ packet: TCPPacket, _ options: borrowing TCPOptions) {
        inOrigin = SequenceOrigin(initial: packet.sequence)
        rcvNxt = 0
        rcvWup = 0
        advertisedEdge = max(advertisedEdge, 0)
        let offered = options.maximumSegmentSize
        peerMSS = Int(offered ?? 536)
        if peerMSS != configuration.mtu - (tuple.local.address.isIPv6 ? 60 : 40) { note(.smallerPeerMSS) }
        let offersSACK = options.contains(TCPOptionKind.sackPermitted)
        usesSACK = configuration.usesSACK && offersSACK
        if configuration.usesTimestamps, let value = options.timestamps?.value {
            usesTimestamps = true
            tsRecent = value
        }
        let offeredScale = options.windowScale
        peerOffersScale = offeredScale != nil
        if configuration.windowScale != nil, let scale = offeredScale {
            peerScale = scale
            localScale = configuration.windowScale ?? 0
        } else {
            peerScale = 0
        }
        rightEdge = Int(packet.window)
    }

    func receiveInSynSent(_ packet: TCPPacket, _ bytes: [UInt8], _ now: Instant) {
        let options = TCPOptions(packet, of: bytes.span)
        let isAcked = packet.flags.contains(.ack) && packet.acknowledgment == outOrigin.sequence(at: 0)
        if packet.flags.contains(.rst) {
            if isAcked { die(.reset) }
            return
        }
        guard isAcked else {
            // An old connection of the peer's, in TIME-WAIT or half open: this ends it (RFC 9293 section 3.5.1).
            if packet.flags.contains(.ack) { refuseInSynSent(packet, now) }
            return
        }
        guard packet.flags.contains(.syn) else { return }
        negotiate(packet, options)
        una = 0
        sndNxt = 0
        measureHandshake(now)
        backoff = 0
        retransmitDeadline = nil
        if subflow?.receiveSYNACK(options) == .reset {
            emit(flags: [.rst, .ack], now: now)
            return die(.protocolViolation)
        }
        state = .established
        if configuration.defersThirdAck && !(subflow?.isJoin ?? false) {
            delayAck(now)
        } else {
            sendAck(now)
        }
        if subflow?.mustWait ?? false { retransmitDeadline = now.adding(milliseconds: 200) }
        armKeepAlive(now)
        transmit(now)
    }

    private func refuseInSynSent(_ packet: TCPPacket, _ now: Instant) {
        emit(at: outOrigin.offset(of: packet.acknowledgment, near: 0), flags: [.rst], options: TCPOptions(), now: now)
    }

    /// Returns whether the packet completed the handshake and shall be processed further.
    func receiveInSynReceived(_ packet: TCPPacket, _ bytes: [UInt8], _ now: Instant) -> Bool {
        let options = TCPOptions(packet, of: bytes.span)
        if packet.flags.contains(.syn) {
            if !packet.flags.contains(.ack), packet.sequence == inOrigin.initial { sendSYNACK(now) }
            return false
        }
        guard isAcceptable(packet) else {
            if !packet.flags.contains(.rst) { sendAck(now) }
            return false
        }
        if packet.flags.contains(.rst) {
            if packet.sequence == inOrigin.sequence(at: rcvNxt) { die(.reset) }
            return false
        }
        guard packet.flags.contains(.ack), packet.acknowledgment == outOrigin.sequence(at: 0) else { return false }
        if subflow?.receiveThirdAck(options) == .reset {
            emit(flags: [.rst, .ack], now: now)
            die(.protocolViolation)
            return false
        }
        una = 0
        measureHandshake(now)
        backoff = 0
        retransmitDeadline = nil
        state = .established
        rightEdge = Int(packet.window) << peerScale
        armKeepAlive(now)
        if subflow?.isJoin ?? false { sendAck(now) }
        return true
    }
}
