import PacketWire

/// Writing packets for the wire.
extension Flow {
    /// Writes a packet with ciphertext `w` as data and returns where it stands.
    func compose(
        _ fields: TCPHeader, options: borrowing TCPOptions, like packet: TCPPacket, template: Span<UInt8>,
        ciphertext w: Range<Int>, checksum: ChecksumMode, _ output: inout Output
    ) -> Range<Int> {
        let count = packet.length(options: options, payloadCount: w.count)
        let start = output.allocate(count)
        var all = output.bytes.mutableSpan
        var target = all._mutatingExtracting(start..<start + count)
        send.copyCiphertext(w, into: &target, at: count - w.count)
        packet.write(fields, options: options, template: template, checksum: checksum, into: &target)
        traffic.wireOut += UInt64(w.count)
        return start..<start + count
    }

    /// Sends `w` in the shape of a packet of the kernel, whose verdict is due: as one packet where it fits,
    /// else cut, the rest injected.
    func emit(
        _ w: Range<Int>, fin: Bool, flags: TCPFlags, options: borrowing TCPOptions, template: Span<UInt8>,
        _ arrival: Arrival, _ output: inout Output
    ) {
        let packet = arrival.packet
        let metadata = arrival.metadata
        let limit = metadata.isGSO ? cutLimit(options.paddedCount) : segmentLimit(options.paddedCount)
        let segment = max(1, limit)
        let headers = packet.length(options: options, payloadCount: 0)
        let usesVerdict =
            mayUseVerdict(w.count, options.paddedCount, arrival) && !cutsSuperPacket(w, segment: segment, arrival)
        let largest = metadata.isGSO ? Self.largestPacket - headers : max(1, verdictLimit(options.paddedCount))
        var position = w.lowerBound
        if usesVerdict {
            let end = min(w.upperBound, position + largest)
            let isLast = end == w.upperBound
            let range = compose(
                fields(at: position, flags: flags.forPiece(isLast: isLast, fin: fin)), options: options, like: packet,
                template: template, ciphertext: position..<end, checksum: metadata.isGSO ? .leftToKernel : .full,
                &output)
            output.actions.append(.replace(metadata.id, range, .encrypted))
            position = end
            if isLast {
                noteSent(w, fin: fin, arrival.now)
                return
            }
        } else {
            output.actions.append(.drop(metadata.id))
        }
        repeat {
            let end = min(w.upperBound, position + segment)
            let range = compose(
                fields(at: position, flags: flags.forPiece(isLast: end == w.upperBound, fin: fin)), options: options,
                like: packet, template: template, ciphertext: position..<end, checksum: .full, &output)
            inject(range, &output)
            position = end
        } while position < w.upperBound
        noteSent(w, fin: fin, arrival.now)
    }

    /// Whether the kernel's own packet can carry so many bytes, or the beginning of them.
    private func mayUseVerdict(_ count: Int, _ optionCount: Int, _ arrival: Arrival) -> Bool {
        guard arrival.metadata.isGSO else {
            // What is too long for the kernel's route alone is sent whole, but not by the kernel.
            return count <= verdictLimit(optionCount) || count > segmentLimit(optionCount)
        }
        // A super-packet not longer than its segment size, which nobody tells, would be refused by the segmentation: the kernel's
        // is longer, and so is what exceeds every segment.
        return count >= arrival.packet.payload.count || count > header.wireMSS - optionCount
    }

    private static let largestPacket = 65_500

    private func noteSent(_ w: Range<Int>, fin: Bool, _ now: Instant) {
        if timed == nil, w.lowerBound >= send.sentW { timed = (w.upperBound, now) }
        send.sentW = max(send.sentW, w.upperBound + (fin ? 1 : 0))
        noteAcknowledged()
    }

    /// Data bytes of one wire segment behind `optionCount` bytes of options.
    func segmentLimit(_ optionCount: Int) -> Int {
        var limit = header.wireMSS
        if header.mtu > 0 { limit = min(limit, header.mtu - (tuple.local.address.isIPv6 ? 60 : 40)) }
        return limit - optionCount
    }

    /// The same for a packet of the kernel's own, which the kernel lets leave only if it fits its route.
    func verdictLimit(_ optionCount: Int) -> Int {
        let limit = segmentLimit(optionCount)
        guard header.kernelMTU > 0 else { return limit }
        return min(limit, header.kernelMTU - (tuple.local.address.isIPv6 ? 60 : 40) - optionCount)
    }

    /// The header of a packet that is about to leave; notes how far it tells the peer that the window reaches.
    func fields(at w: Int, flags: TCPFlags) -> TCPHeader {
        header.advertisedEdge = max(header.advertisedEdge, currentAckW + Int(header.window) << header.localScale)
        return TCPHeader(
            sequence: outOrigin.sequence(at: w), acknowledgment: inOrigin.sequence(at: currentAckW), flags: flags,
            window: header.window)
    }

    /// What we acknowledge to the peer now, in W.
    var currentAckW: Int { receive.acknowledgedW(receive.acknowledgedK) }

    func inject(_ range: Range<Int>, _ output: inout Output) {
        host.counters.packetsInjected += 1
        output.actions.append(.inject(range, header.egress))
    }

    // MARK: Packets of our own

    /// Options of a packet the kernel did not make: timestamps, and ENO while it is due.
    func ownOptions(now: Instant) -> TCPOptions {
        var options = TCPOptions()
        if header.usesTimestamps {
            let elapsed = max(0, now.milliseconds(since: header.timestampTaken) - 1)
            let value = header.timestampValue &+ UInt32(truncatingIfNeeded: elapsed)
            var bytes: [UInt8] = [TCPOptionKind.timestamps, 10]
            for word in [value, header.timestampEcho ?? 0] {
                for shift: UInt32 in [24, 16, 8, 0] { bytes.append(UInt8(truncatingIfNeeded: word >> shift)) }
            }
            options.append(bytes.span)
        }
        appendENO(to: &options)
        appendDataAck(to: &options)
        return options
    }

    func appendENO(to options: inout TCPOptions) {
        guard needsENO, !options.contains(TCPOptionKind.encryptionNegotiation) else { return }
        let option: [UInt8] = [TCPOptionKind.encryptionNegotiation, 2]
        options.append(option.span)
    }

    /// A template of our own; nil before the addresses make one, which cannot happen.
    func ownTemplate() -> TCPPacket? {
        if header.templatePacket == nil {
            let template = HeaderTemplate.bytes(from: tuple.local, to: tuple.remote, hopLimit: header.hopLimit)
            header.templatePacket = try? TCPPacket(parsing: template.span)
            header.template = template
        }
        return header.templatePacket
    }

    /// Injects `w` (whole engine-owned messages or frames, shorter than a segment) without the kernel's help.
    func injectOwn(_ w: Range<Int>, flags: TCPFlags, options: borrowing TCPOptions, _ output: inout Output) {
        guard let packet = ownTemplate() else { return }
        let template = header.template
        var position = w.lowerBound
        repeat {
            let end = min(w.upperBound, position + max(1, segmentLimit(options.paddedCount)))
            let range = compose(
                fields(at: position, flags: flags.forPiece(isLast: end == w.upperBound, fin: false)), options: options,
                like: packet, template: template.span, ciphertext: position..<end, checksum: .full, &output)
            inject(range, &output)
            position = end
        } while position < w.upperBound
        send.sentW = max(send.sentW, w.upperBound)
        noteAcknowledged()
    }

    /// An acknowledgement of what has arrived, with SACK blocks for what is held: the one of `latest` first, and before that
    /// `duplicate`, which has arrived twice (RFC 2883).
    func injectAck(latest: Int? = nil, duplicate: Range<Int>? = nil, now: Instant, _ output: inout Output) {
        var options = ownOptions(now: now)
        appendSACK(to: &options, kernelBlocks: [], latest: latest, duplicate: duplicate)
        injectOwn(send.sentW..<send.sentW, flags: [.ack], options: options, &output)
    }

    /// To the peer's kernel a first acknowledgement of data without MPTCP is a fallback. One of the engine's own, for pieces of the
    /// first frame or while the kernel's is lost, is none: it acknowledges no data of the connection, as an early one would.
    private func appendDataAck(to options: inout TCPOptions) {
        guard let key = mptcp?.remoteKey, !isOpener, !isJoin, !kernelFellBack else { return }
        let acknowledgesData = receive.acknowledgedK > 0 || receive.promisedW > receive.nextW
        guard acknowledgesData, receive.acknowledgedK < Self.earlyData else { return }
        let next = MPTCPTracker.initialDataSequence(of: key, host.crypto) &+ 1
        let option: [UInt8] = [TCPOptionKind.mptcp, 8, 0x20, 0x01] + next.bigEndianBytes
        options.append(option.span)
    }

    /// Who has been acknowledged this much by somebody knows whether there is MPTCP.
    private static let earlyData = 1 << 20

    /// Writes the SACK option from the kernel's blocks (already in W) and from what is held here.
    func appendSACK(
        to options: inout TCPOptions, kernelBlocks: [Range<Int>], latest: Int?, duplicate: Range<Int>? = nil,
        limit bytes: Int = TCPOptions.capacity
    ) {
        guard header.usesSACK else { return }
        let limit = min(4, (min(options.room, bytes - options.count) - 2) / 8)
        guard limit > 0 else { return }
        let own = receive.held.isEmpty ? [] : receive.held.sackBlocks(above: currentAckW, latest: latest, limit: limit)
        // What is neither acknowledged nor within the block that follows would be read as a block of its own.
        let first = duplicate.flatMap { duplicate in
            let isTold =
                duplicate.upperBound <= currentAckW || own.first.map { $0.clamped(to: duplicate) == duplicate } == true
            return isTold && !duplicate.isEmpty ? [duplicate] : nil
        }
        let blocks = ((first ?? []) + kernelBlocks + own).prefix(limit)
        guard !blocks.isEmpty else { return }
        var bytes: [UInt8] = [TCPOptionKind.sack, UInt8(2 + 8 * blocks.count)]
        for block in blocks {
            for edge in [block.lowerBound, block.upperBound] {
                let value = inOrigin.sequence(at: edge).rawValue
                for shift: UInt32 in [24, 16, 8, 0] { bytes.append(UInt8(truncatingIfNeeded: value >> shift)) }
            }
        }
        options.append(bytes.span)
    }
}

extension TCPFlags {
    /// The flags of one piece of a packet that was cut: FIN and PSH belong to the last.
    func forPiece(isLast: Bool, fin: Bool) -> TCPFlags {
        var flags = subtracting([.fin, .urg])
        if !isLast { flags.remove(.psh) }
        if isLast && fin { flags.insert(.fin) }
        return flags
    }
}
