import DequeModule
import PacketWire
import Tcpcrypt

/// From the local kernel (K) to the wire (W).
extension Flow {
    /// A segment without SYN from the local kernel.
    func outbound(_ bytes: Span<UInt8>, _ arrival: Arrival, _ output: inout Output) {
        lastActivity = arrival.now
        if isUnconfirmed, arrival.packet.sequenceLength > 0 {
            // Whoever speaks now is the old connection, which has ended. What it answers to the SYN may pass: its peer
            // ends it with a reset.
            output.actions.append(.destroySocket(tuple))
            return drop(arrival.metadata.id, &output)
        }
        switch phase {
        case .accepting where accepting?.synAckSent != nil && !arrival.packet.flags.contains(.rst):
            // What the kernel answers to stragglers of an earlier connection would tell the opener that ENO has arrived
            // (RFC 8547 section 4.6).
            drop(arrival.metadata.id, &output)
        case .opening where crossing?.isAnswered == true && !arrival.packet.flags.contains(.rst):
            drop(arrival.metadata.id, &output)
        case .opening, .accepting:
            // Only a reset can precede the end of the handshake here: there is no listener, or no more opener.
            if arrival.packet.flags.contains(.rst), accepting?.synAckSent == nil {
                removalDeadline = arrival.now.adding(milliseconds: FlowTime.reset)
            }
            output.actions.append(.accept(arrival.metadata.id, .undecided))
        case .observing:
            observe(bytes, arrival, &output)
        case .plain:
            output.actions.append(.accept(arrival.metadata.id, .plain))
        case .aborted:
            drop(arrival.metadata.id, &output)
        case .keyExchange, .encrypted:
            translateOutbound(bytes, arrival, &output)
            if isFinished { retire(arrival.now) }
        }
    }

    func drop(_ id: PacketID, _ output: inout Output) {
        host.counters.packetsDropped += 1
        output.actions.append(.drop(id))
    }

    private func translateOutbound(_ bytes: Span<UInt8>, _ arrival: Arrival, _ output: inout Output) {
        let packet = arrival.packet
        let options = TCPOptions(packet, of: bytes)
        let edge = receive.acknowledgedK + header.localWindow
        remember(packet, options, arrival)
        if !isProven { armProofTimer(arrival.now) }
        if packet.flags.contains(.ack) {
            receive.acknowledge(inOrigin.offset(of: packet.acknowledgment, near: receive.acknowledgedK))
            receive.advertise(header.localWindow)
            if progressDeadline == nil { armProgressTimer(arrival.now) }
            armRedeliveryTimer(arrival.now)
            if receive.acknowledgedK + header.localWindow > edge { hastenRedelivery(arrival.now) }
            armMemoryTimer(arrival.now)
        }
        header.window = offeredWindow(packet)
        if lacksKeys { learnKeys(options.mptcpOption(isSYN: false), from: .outbound, &output) }
        if !packet.flags.contains(.rst), !options.contains(TCPOptionKind.mptcp) { kernelFellBack = true }
        if packet.flags.contains(.rst) {
            emitReset(bytes, options, arrival, &output)
        } else if packet.payload.isEmpty && !packet.flags.contains(.fin) {
            emitPureAck(bytes, options, arrival, &output)
        } else {
            sendMissingHandshakeACK(bytes, arrival, &output)
            if sealer == nil, !isFinished {
                holdOutbound(bytes, options, arrival, &output)
            } else {
                emitData(bytes, options, arrival, &output)
            }
        }
    }

    /// Keeps what packets of our own need to look like the kernel's.
    private func remember(_ packet: TCPPacket, _ options: borrowing TCPOptions, _ arrival: Arrival) {
        header.localWindow = Int(packet.window) << header.localScale
        header.egress = Egress(mark: arrival.metadata.mark, interface: arrival.metadata.interface)
        notePath(arrival.metadata, arrival.now)
        header.note(timestamps: options, arrival.now)
    }

    /// The local kernel's window as the peer is told of it.
    ///
    /// A super-packet that came through a queue takes up to twice the memory that the kernel reckons with, and a receiver of MPTCP that runs
    /// out of memory before a hole is filled comes to a stop for good. In a small buffer two of them are enough (measured, with five
    /// eighths: 1 upload in 25; with half: none in 150), and the first may come at any time. In a larger one they do not all have the worst
    /// size, and with half of it the kernel would not offer more, for it doubles what a round trip brought: five eighths, once
    /// super-packets have come. The right edge does not move back, but that of a join, whose window counts from what the connection
    /// has acknowledged.
    private func offeredWindow(_ packet: TCPPacket) -> UInt16 {
        guard isOfMPTCP else { return packet.window }
        let isSmall = Int(packet.window) << header.localScale < Self.smallWindow
        if !isSmall, !receivesSuperPackets {
            // The other subflows share the window.
            host.locked { receivesSuperPackets = mptcp?.receivesSuperPackets ?? false }
            guard receivesSuperPackets else { return packet.window }
        }
        // A few segments always: less than what the sender wants to fill makes it wait for timeouts.
        let least = min(packet.window, UInt16(clamping: Self.tinyWindow >> header.localScale))
        // Rounded up: a window of one unit must not become none.
        let frugal = max(least, packet.window - UInt16(UInt32(packet.window) * (isSmall ? 4 : 3) / 8))
        guard !isJoin else { return frugal }
        let roundedUp = max(0, header.advertisedEdge - currentAckW) + (1 << header.localScale) - 1
        return min(packet.window, max(frugal, UInt16(clamping: roundedUp >> header.localScale)))
    }

    /// Whether the local kernel's socket is one of MPTCP, if only as a fallback: it queues what arrives in the same way.
    var isOfMPTCP: Bool { mptcp != nil || (isOpener && offersCapable) }

    private static let smallWindow = 1 << 17
    private static let tinyWindow = 1 << 14

    /// Tells the other subflows.
    func tellOfSuperPackets() {
        receivesSuperPackets = true
        host.locked { mptcp?.receivesSuperPackets = true }
    }

    // MARK: Pure acknowledgements

    private func emitPureAck(
        _ bytes: Span<UInt8>, _ kernelOptions: borrowing TCPOptions, _ arrival: Arrival, _ output: inout Output
    ) {
        let packet = arrival.packet
        if isIntermediate(packet, kernelOptions) {
            armSACKTimer(arrival.now)
            return drop(arrival.metadata.id, &output)
        }
        if sealer == nil, protectsSignals, needsFrame(kernelOptions) {
            return holdOutbound(bytes, kernelOptions, arrival, &output)
        }
        let k = outOrigin.offset(of: packet.sequence, near: send.queuedK)
        if askForLife(k, arrival.now, &output) { return drop(arrival.metadata.id, &output) }
        let frame = sealSignals(of: kernelOptions, arrival.now)
        let options = outboundOptions(kernelOptions, isData: false)
        var w = frame ?? pureAckW(k)
        var flags = packet.flags
        if frame != nil { flags.insert(.psh) }
        if isAwaitingHandshakeACK {
            if handshakeACK == nil { handshakeACK = (Self.headers(of: packet, bytes), packet) }
            // Init1, or the empty frame that proves a join, rides on the third ACK and its repetitions.
            w = send.acknowledgedW..<send.nextW
            if !w.isEmpty {
                flags.insert(.psh)
                armEngineTimer(arrival.now)
            }
        }
        let range = compose(
            fields(at: w.lowerBound, flags: flags), options: options, like: packet, template: bytes, ciphertext: w,
            checksum: .full, &output)
        output.actions.append(.replace(arrival.metadata.id, range, .encrypted))
        noteAcknowledged()
        send.sentW = max(send.sentW, w.upperBound)
    }

    /// The opener's engine-owned bytes still have to reach the peer for the first time.
    private var isAwaitingHandshakeACK: Bool {
        isOpener && send.nextK == 0 && send.acknowledgedW < send.nextW && needsENO
    }

    /// W range (empty) of a pure acknowledgement that the kernel sent with K sequence `k`.
    private func pureAckW(_ k: Int) -> Range<Int> {
        // Between the two stands a kernel that finds its data beyond a window that has shrunk. What it acknowledges would be ignored
        // there by a peer that has taken that data.
        guard k < send.acknowledgedK else { return send.sentW..<send.sentW }
        // Keep-alives and zero-window probes use the byte before the oldest unacknowledged one.
        let w = send.acknowledgedW - (send.acknowledgedK - k)
        return w..<w
    }

    /// The kernel's options with SACK blocks in W and, where due, the empty ENO option.
    ///
    /// - Parameter limit: bytes of options the packet has room for; those of the kernel always fit.
    func outboundOptions(
        _ kernel: borrowing TCPOptions, isData: Bool, limit: Int = TCPOptions.capacity
    ) -> TCPOptions {
        var options = copy kernel
        if sealer != nil, protectsSignals { options.keepOpenSignals(isData: isData) }
        let blocks = kernel.sackBlocks
        options.remove(TCPOptionKind.sack)
        appendENO(to: &options)
        if !blocks.isEmpty || !receive.held.isEmpty {
            appendSACK(
                to: &options, kernelBlocks: blocks.compactMap(wireBlock), latest: nil,
                limit: max(kernel.paddedCount, limit))
        }
        return options
    }

    /// How many bytes of options a data packet may have before it no longer fits the path.
    private func optionLimit(_ w: Range<Int>, _ kernel: borrowing TCPOptions, _ metadata: PacketMetadata) -> Int {
        guard metadata.isGSO else { return segmentLimit(0) - w.count }
        // The kernel chose the size of the segments by its own options and the MSS it was told, which leaves room for a frame,
        // or by a path narrower than that, which leaves none.
        return kernel.paddedCount + (verdictLimit(0) < header.wireMSS ? 0 : Frame.overhead)
    }

    private func wireBlock(_ block: (start: SequenceNumber, end: SequenceNumber)) -> Range<Int>? {
        let start = receive.map.w(startingAt: inOrigin.offset(of: block.start, near: receive.acknowledgedK))
        let end = receive.map.w(endingAt: inOrigin.offset(of: block.end, near: receive.acknowledgedK))
        return start < end ? start..<end : nil
    }

    // MARK: Data before keys

    private func holdOutbound(
        _ bytes: Span<UInt8>, _ options: borrowing TCPOptions, _ arrival: Arrival, _ output: inout Output
    ) {
        let sequence = arrival.packet.sequence
        let isRepeated = heldOutbound.contains { $0.packet.sequence == sequence && !$0.isPureAck }
        guard !isRepeated, admitHeldOutbound(bytes: bytes.count) else {
            return drop(arrival.metadata.id, &output)
        }
        heldOutbound.append(
            HeldOutbound(bytes: bytes.array(), packet: arrival.packet, metadata: arrival.metadata))
    }

    /// Where the kernel answers the SYN-ACK with data, the third ACK becomes a packet of our own.
    private func sendMissingHandshakeACK(_ bytes: Span<UInt8>, _ arrival: Arrival, _ output: inout Output) {
        guard isAwaitingHandshakeACK, handshakeACK == nil else { return }
        handshakeACK = (Self.headers(of: arrival.packet, bytes), arrival.packet)
        injectHandshakeACK(now: arrival.now, &output)
    }

    /// Sends Init1 or an empty frame in the shape of the kernel's third ACK.
    func injectHandshakeACK(now: Instant, _ output: inout Output) {
        guard let handshakeACK, let owned = send.engineOwned.first else { return }
        var options = TCPOptions(handshakeACK.packet, of: handshakeACK.bytes.span)
        options.dropMPTCPDataLength()
        appendENO(to: &options)
        let w = max(owned.lowerBound, send.acknowledgedW)..<max(owned.upperBound, send.acknowledgedW)
        let range = compose(
            fields(at: w.lowerBound, flags: [.ack, .psh]), options: options, like: handshakeACK.packet,
            template: handshakeACK.bytes.span, ciphertext: w, checksum: .full, &output)
        inject(range, &output)
        send.sentW = max(send.sentW, w.upperBound)
        armEngineTimer(now)
    }

    /// A copy of a packet's headers, to serve as a template.
    static func headers(of packet: TCPPacket, _ bytes: Span<UInt8>) -> [UInt8] {
        bytes.extracting(0..<packet.payload.lowerBound).array()
    }

    /// Keys exist: what was held goes out.
    func releaseOutbound(now: Instant, _ output: inout Output) {
        while let held = heldOutbound.popFirst() {
            host.pending.outbound.release(held.load)
            let arrival = Arrival(packet: held.packet, metadata: held.metadata, now: now)
            let options = TCPOptions(held.packet, of: held.bytes.span)
            if held.isPureAck {
                emitPureAck(held.bytes.span, options, arrival, &output)
            } else {
                emitData(held.bytes.span, options, arrival, &output)
            }
        }
        heldOutbound = []
    }

    // MARK: Data

    private func emitData(
        _ bytes: Span<UInt8>, _ kernelOptions: borrowing TCPOptions, _ arrival: Arrival, _ output: inout Output
    ) {
        let packet = arrival.packet
        let first = outOrigin.offset(of: packet.sequence, near: send.queuedK)
        let end = first + packet.payload.count
        // A hole means that a packet was lost before it came here: without it the W position is unknown.
        guard first <= send.queuedK else { return drop(arrival.metadata.id, &output) }
        let isNew = end > send.queuedK || (packet.flags.contains(.fin) && end == send.queuedK && !hasQueuedFIN)
        noteRepetition(from: first, to: end, arrival.now)
        noteSegment(packet, kernelOptions, isGSO: arrival.metadata.isGSO)
        sendSignals(of: kernelOptions, isNewData: isNew, arrival.now, &output)
        if isNew {
            let limit = frameLimit(
                optionCount: kernelOptions.paddedCount,
                superPacket: arrival.metadata.isGSO ? packet.payload.count : 0, arrival.now)
            sealNew(bytes, kernelOptions, arrival, from: send.queuedK - first, limit: limit)
        }

        let isFIN = packet.flags.contains(.fin) && send.finK == end
        let start = withUnheardProof(max(send.map.w(startingAt: first), send.retransmittableW))
        let stop = min(send.map.w(endingAt: min(end + (isFIN ? 1 : 0), send.nextK)), send.dataEndW)
        let limit = optionLimit(min(start, stop)..<stop, kernelOptions, arrival.metadata)
        let options = outboundOptions(kernelOptions, isData: true, limit: limit)
        if start < stop || (isFIN && send.acknowledgedW < send.nextW) {
            // What belongs to another mapping must not be merged with this on the way, now that they look alike.
            let flags = isNew && protectsSignals ? packet.flags.union(.psh) : packet.flags
            emit(
                min(start, stop)..<stop, fin: isFIN, flags: flags, options: options, template: bytes, arrival,
                &output)
        } else {
            drop(arrival.metadata.id, &output)
            // The kernel missed an acknowledgement, or nothing of this fits the peer's window: ask, as a zero-window
            // probe does.
            if !isNew { injectProbe(now: arrival.now, &output) }
        }
    }

    /// Until the peer has been heard, the empty frame of the third ACK goes with what follows it too: a third ACK that is lost costs
    /// TCP nothing.
    private func withUnheardProof(_ start: Int) -> Int {
        guard needsENO, isOpener, let owned = send.engineOwned.first, owned.upperBound == start else { return start }
        return max(owned.lowerBound, send.retransmittableW)
    }

    private var hasQueuedFIN: Bool { send.finK != nil || send.backlog.last?.isFIN == true }

    private func injectProbe(now: Instant, _ output: inout Output) {
        let w = send.acknowledgedW - 1
        injectOwn(w..<w, flags: [.ack], options: ownOptions(now: now), &output)
    }

    /// Seals what the packet brings beyond byte `skip` of its data; what the peer's window has no room for waits.
    private func sealNew(
        _ bytes: Span<UInt8>, _ options: borrowing TCPOptions, _ arrival: Arrival, from skip: Int, limit: Int
    ) {
        let packet = arrival.packet
        let isFIN = packet.flags.contains(.fin)
        let data = bytes.extracting(packet.payload).extracting(skip..<packet.payload.count)
        traffic.plainOut += UInt64(data.count)
        let urgent =
            packet.flags.contains(.urg) ? send.queuedK - skip + Int(packet.urgentPointer) - 1 : nil
        let mapping = mapping(of: options)
        let sealed = send.backlog.isEmpty ? seal(data, mapping, fin: isFIN, urgentK: urgent, limit: limit) : 0
        guard sealed < data.count || (isFIN && send.finK == nil) else { return }
        send.backlog.append(
            BacklogPacket(
                k: send.queuedK, data: ArraySlice(data.extracting(sealed..<data.count).array()), isFIN: isFIN,
                urgentK: urgent, template: Self.headers(of: packet, bytes), packet: packet))
    }

    /// Seals as much of `data`, which begins at the next K byte, as the peer's window takes; returns how much.
    ///
    /// - Parameters:
    ///   - mapping: says where in an MPTCP connection the data belongs.
    ///   - limit: bytes of data in a frame at most.
    func seal(
        _ data: Span<UInt8>, _ mapping: borrowing TCPOptions, fin: Bool, urgentK: Int?, limit: Int
    ) -> Int {
        var done = 0
        while done < data.count {
            let urgent = urgentK.flatMap { UInt16(exactly: $0 - send.nextK) }
            let signals = frameSignals(mapping)
            let overhead = Frame.length(data: 0, urgent: urgent != nil, signals: signals.count)
            let rest = data.count - done
            // Signals take the place of the option that the segment does not have.
            let length = min(rest, limit - (urgent == nil ? 0 : 2), send.room - overhead)
            // Small change is not worth a frame while an acknowledgement is due that opens the window.
            let isWorthIt = length == rest || length >= 256 || (length > 0 && send.acknowledgedW == send.nextW)
            guard length > 0, isWorthIt else { return done }
            let isLast = length == rest
            sealFrame(
                data.extracting(done..<done + length), signals, fin: fin && isLast, rekey: isKeyWornOut, urgent: urgent,
                &host.frameScratch)
            done += length
            if isLast && fin { send.appendFIN(frame: [UInt8]().span) }
        }
        if fin && send.finK == nil { sealFIN(&host.frameScratch) }
        return done
    }

    /// Seals the empty frame with FINp that goes before a FIN without data.
    private func sealFIN(_ scratch: inout [UInt8]) {
        let signals = frameSignals(TCPOptions())
        let length = Frame.length(data: 0, urgent: false, signals: signals.count)
        host.counters.framesSealed += 1
        var all = scratch.mutableSpan
        var target = all._mutatingExtracting(0..<length)
        let isSealed = sealer?.seal(
            data: [UInt8]().span, urgent: nil, fin: true, rekey: false, signals: signals.span,
            offset: UInt64(send.nextW), into: &target)
        if isSealed == true { send.appendFIN(frame: scratch.span.extracting(0..<length)) }
    }

    /// Seals one frame at the end of the stream.
    private func sealFrame(
        _ data: Span<UInt8>, _ signals: borrowing TCPOptions, fin: Bool, rekey: Bool, urgent: UInt16?,
        _ scratch: inout [UInt8]
    ) {
        let length = Frame.length(data: data.count, urgent: urgent != nil, signals: signals.count)
        let lead = Frame.lead(urgent: urgent != nil, signals: signals.count)
        let offset = UInt64(send.nextW)
        host.counters.framesSealed += 1
        if rekey { host.counters.rekeys += 1 }
        let signalBytes = signals.span
        send.append(count: length, kCount: data.count, lead: lead, spare: &scratch) { target in
            sealer?.seal(
                data: data, urgent: urgent, fin: fin, rekey: rekey, signals: signalBytes, offset: offset, into: &target)
                ?? false
        }
        if send.nextW > Int(offset) { noteSealed(signals) }
    }

    /// Seals a frame without data: it owns no K, so the engine alone looks after it.
    func sealEmptyFrame(rekey: Bool, signals: borrowing TCPOptions = TCPOptions()) {
        sealFrame([UInt8]().span, signals, fin: false, rekey: rekey, urgent: nil, &host.frameScratch)
    }
}

extension Span<UInt8> {
    /// An owned copy.
    func array() -> [UInt8] {
        var copy = [UInt8](repeating: 0, count: count)
        var target = copy.mutableSpan
        target.copy(self, at: 0)
        return copy
    }
}
