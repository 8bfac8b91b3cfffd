import PacketWire
import Tcpcrypt

/// MPTCP's signalling from the wire to the local kernel: what stands in frames counts, what stands in headers does not.
extension Flow {
    /// Takes the signals of a frame that authenticated.
    ///
    /// - Parameter k: the place of its data in K.
    func take(_ frame: OpenedFrame, k: Range<Int>) {
        guard mptcp != nil else {
            return frame.signals.forEach(of: TCPOptionKind.mptcp) { option in
                if option.isResetSignal { signalling.keepForKernel(TCPOptions(parsing: option)) }
            }
        }
        var mapping = TCPOptions()
        frame.signals.forEach(of: TCPOptionKind.mptcp) { option in
            switch MPTCPOption(option, isSYN: false) {
            case .dss:
                guard let signal = take(DSSOption(option), option) else { return }
                if k.isEmpty { signalling.keepForKernel(signal) } else { mapping = signal }
            case .capableACK:
                if !k.isEmpty { mapping.append(option) }
            default:
                signalling.keepForKernel(TCPOptions(parsing: option))
            }
        }
        if !k.isEmpty { receive.append(mapping: mapping, of: k) }
    }

    /// - Returns: what it says of the peer's data, without its acknowledgement; nil where it says nothing of that.
    private func take(_ dss: DSSOption?, _ option: Span<UInt8>) -> TCPOptions? {
        guard let dss else { return nil }
        guard !dss.isInfinite || signalling.hasHeardDSS else {
            signalling.hasHeardFallback = true
            return nil
        }
        signalling.hasHeardDSS = true
        if let ack = dss.acknowledgment { note(ack) }
        guard dss.hasMapping else { return nil }
        var signal = TCPOptions()
        signal.appendDSS(acknowledging: nil, mappedAs: option)
        return signal
    }

    private func note(_ ack: DSSOption.Acknowledgment) {
        guard let mptcp else { return }
        let start = firstDataSequence ?? 0
        host.locked {
            mptcp.note(acknowledgment: ack, start: start)
            signalling.authenticAck = mptcp.authenticAck
        }
    }

    /// That of the local kernel; nil before its key is known.
    private var firstDataSequence: UInt64? {
        mptcp?.localKey.map { MPTCPTracker.initialSequence(of: $0, host.crypto) &+ 1 }
    }

    /// What the local kernel may be told of how far its data has been acknowledged. What another subflow has heard since comes with the
    /// next frame here.
    private var trustedAck: UInt64? { signalling.authenticAck ?? firstDataSequence }

    /// Hands the kernel data with the mappings that came in its frames, in several packets where there are several.
    func deliverMapped(
        _ bytes: Span<UInt8>, _ wireOptions: borrowing TCPOptions, _ packet: TCPPacket, _ id: PacketID?,
        k: Range<Int>, fin: Bool, _ acknowledged: Int, _ output: inout Output
    ) {
        var base = copy wireOptions
        // Whoever has opened is sent none of the handshake any more: one that stands there is forged, and would be read in place of the DSS.
        if !isOpener, receive.acknowledgedK == 0 {
            base.keepOpenSignals(isData: true)
        } else {
            base.remove(TCPOptionKind.mptcp)
        }
        var verdict = id
        var start = k.lowerBound
        repeat {
            let mapping = k.isEmpty ? nil : receive.mapping(at: start)
            let piece = start..<min(k.upperBound, mapping?.k.upperBound ?? k.upperBound)
            let isLast = piece.upperBound == k.upperBound
            var options = base
            let room =
                verdict == nil ? Int.max : bytes.count - packet.length(options: TCPOptions(), payloadCount: piece.count)
            if let mapping, mapping.option.count > 0 {
                options.remove(TCPOptionKind.mptcp)
                options.append(mapping: mapping.option, trustedAck, room: room, isFirst: mapping.k.lowerBound == start)
            } else if signalling.hasHeardDSS, piece.isEmpty, !options.contains(TCPOptionKind.mptcp) {
                options.append(acknowledging: trustedAck, room: kernelEstablished ? room : .max)
            }
            hand(bytes, options, packet, verdict, k: piece, fin: fin && isLast, acknowledged, room: room, &output)
            verdict = nil
            start = piece.upperBound
        } while start < k.upperBound
    }

    private func hand(
        _ bytes: Span<UInt8>, _ given: borrowing TCPOptions, _ packet: TCPPacket, _ id: PacketID?, k: Range<Int>,
        fin: Bool, _ acknowledged: Int, room: Int, _ output: inout Output
    ) {
        var options = copy given
        guard mayDeliver(&options, isEmpty: k.isEmpty && !fin) else { return dropPending(id, &output) }
        let range = composeDelivery(bytes, options, packet, k: k, fin: fin, acknowledged, &output)
        if let id, options.paddedCount <= room {
            output.actions.append(.replace(id, range, .encrypted))
        } else {
            dropPending(id, &output)
            output.actions.append(.injectLocal(range))
        }
        noteDelivered(k, fin: fin)
    }

    /// Hands the kernel what frames brought besides data, each in a segment of its own.
    func handSignals(_ now: Instant, _ output: inout Output) {
        guard !signalling.arrived.isEmpty, phase == .encrypted, !awaitsProof, !isReset else { return }
        let endsAll = signalling.arrived.contains { $0.span.isResetSignal }
        // A kernel that has heard nothing yet would fall back at a segment without DSS: they wait for one.
        guard kernelEstablished || endsAll else { return }
        let arrived = signalling.takeArrived()
        if endsAll {
            // MP_TCPRST comes last: a reset without the others would be obeyed before they are read.
            var options = TCPOptions()
            if mptcp != nil { for signal in arrived where signal.span.isResetSignal { options.append(signal.span) } }
            return resetKernel(options, now, &output)
        }
        for signal in arrived {
            var options = TCPOptions()
            options.append(mapping: signal, trustedAck, room: .max, isFirst: true)
            appendTimestamps(to: &options)
            let fields = TCPHeader(
                sequence: inOrigin.sequence(at: receive.deliveredK),
                acknowledgment: outOrigin.sequence(at: send.acknowledgedK), flags: [.ack],
                window: kernelWindow(send.acknowledgedW, header.remoteWindow))
            guard let range = host.make(fields, from: tuple.remote, to: tuple.local, options: options, &output)
            else { continue }
            output.actions.append(.injectLocal(range))
        }
    }
}

extension TCPOptions {
    /// Appends an acknowledgement of data, where there is room.
    ///
    /// - Parameter room: bytes of options that the packet has room for; for any number of them SACK blocks make room, as kernels do it.
    fileprivate mutating func append(acknowledging ack: UInt64?, room: Int) {
        guard let ack else { return }
        var option = TCPOptions()
        option.appendDSS(acknowledging: ack)
        append(option, room: room)
    }

    /// Appends a mapping with an acknowledgement of data.
    ///
    /// The first data of a mapping tells both: without the mapping the kernel could not place it, and without the acknowledgement it takes
    /// the first data of all for that of a peer that has fallen back. What follows need not say either.
    ///
    /// - Parameter room: bytes of options that the packet has room for; the first data does without.
    fileprivate mutating func append(mapping: TCPOptions, _ ack: UInt64?, room: Int, isFirst: Bool) {
        var option = mapping
        if DSSOption(mapping.span) != nil {
            option = TCPOptions()
            option.appendDSS(acknowledging: ack, mappedAs: mapping.span)
        }
        append(option, room: isFirst ? .max : room)
    }

    private mutating func append(_ option: TCPOptions, room: Int) {
        if room == .max, self.room < option.count { remove(TCPOptionKind.sack) }
        var longer = self
        if longer.append(option.span), longer.paddedCount <= room { self = longer }
    }
}
