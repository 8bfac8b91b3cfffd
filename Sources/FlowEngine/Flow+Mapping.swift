import PacketWire
import Tcpcrypt

/// MPTCP's signalling from the wire to the local kernel: what stands in frames counts, what stands in headers does not.
extension Flow {
    /// Takes the signals of a frame that authenticated.
    ///
    /// - Parameter k: the place of its data in K.
    func take(_ frame: OpenedFrame, k: Range<Int>) {
        var mapping = TCPOptions()
        guard mptcp != nil else {
            frame.signals.forEach(of: TCPOptionKind.mptcp) { option in
                if option.isResetSignal { signalling.arrived.append(TCPOptions(parsing: option)) }
            }
            return
        }
        frame.signals.forEach(of: TCPOptionKind.mptcp) { option in
            switch MPTCPOption(option, isSYN: false) {
            case .dss:
                guard let dss = DSSOption(option) else { return }
                signalling.hasHeardDSS = true
                if let ack = dss.acknowledgment { note(ack) }
                guard dss.hasMapping else { return }
                var signal = TCPOptions()
                signal.appendDSS(acknowledging: nil, mappedAs: option)
                if k.isEmpty { signalling.arrived.append(signal) } else { mapping = signal }
            case .capableACK:
                if !k.isEmpty { mapping.append(option) }
            default:
                signalling.arrived.append(TCPOptions(parsing: option))
            }
        }
        if !k.isEmpty { receive.append(mapping: mapping, of: k) }
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
        base.remove(TCPOptionKind.mptcp)
        let handshake = receive.acknowledgedK == 0 ? wireOptions.handshakeOfMPTCP : TCPOptions()
        var showsMPTCP = wireOptions.contains(TCPOptionKind.mptcp)
        if signalling.hasHeardDSS { showsMPTCP = true }
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
                options.append(mapping: mapping.option, trustedAck, room: room, isFirst: mapping.k.lowerBound == start)
            } else if handshake.count > 0 {
                options.append(handshake.span)
            } else if showsMPTCP, piece.isEmpty, let trustedAck {
                var longer = options
                if longer.appendDSS(acknowledging: trustedAck), longer.paddedCount <= room { options = longer }
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
        let arrived = signalling.arrived
        signalling.arrived = []
        if arrived.contains(where: { $0.span.isResetSignal }) {
            // MP_TCPRST comes last: a reset without the others would be obeyed before they are read.
            var options = TCPOptions()
            if mptcp != nil { for signal in arrived where signal.span.isResetSignal { options.append(signal.span) } }
            return resetKernel(options, now, &output)
        }
        for signal in arrived {
            var options = signal
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
    /// The MPTCP options that establish a subflow, without data.
    fileprivate var handshakeOfMPTCP: TCPOptions {
        var found = TCPOptions()
        forEach(of: TCPOptionKind.mptcp) { option in
            switch MPTCPOption(option, isSYN: false) {
            case .capableACK, .joinACK: found.append(option)
            default: break
            }
        }
        found.dropMPTCPDataLength()
        return found
    }

    /// Appends a mapping, and an acknowledgement with it where there is room.
    ///
    /// - Parameters:
    ///   - room: bytes of options that the packet has room for. The first data of a mapping tells it nevertheless; what follows need not.
    fileprivate mutating func append(mapping: TCPOptions, _ ack: UInt64?, room: Int, isFirst: Bool) {
        if isFirst, Self.capacity - count < mapping.count { remove(TCPOptionKind.sack) }
        var full = self
        if DSSOption(mapping.span) != nil, full.appendDSS(acknowledging: ack, mappedAs: mapping.span),
            full.paddedCount <= room
        {
            self = full
            return
        }
        var bare = self
        if bare.append(mapping.span), isFirst || bare.paddedCount <= room { self = bare }
    }
}
