import PacketWire
import Tcpcrypt

/// A simultaneous open (RFC 9293 section 3.5) once the peer's SYN has come while ours awaits its answer.
struct Crossing {
    /// The whole ENO option of our SYN.
    let option: [UInt8]
    let initial: SequenceNumber
    let tep: TEP
    let transcript: [UInt8]
    let remoteOffer: SYNOffer
    let window: Int
    /// The local kernel's SYN-ACK has left with our option: the peer may take it for the first ACK.
    var isAnswered = false
}

/// Both ends open, and exactly one of them claims the passive role (RFC 8547 section 4.3). Each sends its option twice, with its SYN and its
/// SYN-ACK, and the first ACK that arrives with ENO decides: the peer's SYN-ACK, or, where that is lost or the peer's kernel knows nothing of
/// two SYNs, an ACK. Then host A sends Init1, whoever it is.
///
/// Without resumption, which would need a secret that only one of them names, and without MPTCP, which Linux gives up then.
extension Flow {
    /// A SYN from the wire while our own awaits its answer.
    func receiveCrossingSYN(
        _ bytes: Span<UInt8>, _ options: borrowing TCPOptions, _ arrival: Arrival, _ output: inout Output
    ) {
        if let crossing {
            guard arrival.packet.sequence == crossing.initial else { return drop(arrival.metadata.id, &output) }
            return deliverSYN(bytes, options, arrival, &output)
        }
        let remoteOffer = remember(syn: arrival.packet, options, .inbound)
        var reason = FallbackReason.roleConflict
        switch negotiateCrossing(options) {
        case .success(.fresh(let tep, let transcript)):
            crossing = Crossing(
                option: opening?.option ?? [], initial: arrival.packet.sequence, tep: tep, transcript: transcript,
                remoteOffer: remoteOffer,
                window: Int(arrival.packet.window))
            return deliverSYN(bytes, options, arrival, &output)
        case .success(.resumed): break
        // Two hosts with the same settings send the same option.
        case .success(.disabled(.echoed)): break
        case .success(.disabled(let failure)): reason = FallbackReason(failure)
        case .failure(let fallback): reason = fallback.reason
        }
        let mark = becomePlain(reason, &output)
        if isRefused { return resetBoth(bytes, arrival, &output) }
        output.actions.append(.accept(arrival.metadata.id, mark))
    }

    private func negotiateCrossing(_ options: borrowing TCPOptions) -> Result<OpenerOutcome, Fallback> {
        guard let opening, !offersCapable, !options.contains(TCPOptionKind.mptcp) else {
            return .failure(Fallback(reason: .roleConflict))
        }
        return negotiate(opening.offer, options)
    }

    /// The SYN-ACK of a local kernel that has opened as well.
    func sendCrossedSYNACK(_ bytes: Span<UInt8>, _ arrival: Arrival, _ output: inout Output) {
        var options = TCPOptions(arrival.packet, of: bytes)
        switch phase {
        case .plain, .observing:
            output.actions.append(.accept(arrival.metadata.id, .undecided))
        case .keyExchange, .encrypted:
            // The peer's SYN-ACK was faster. As a packet of our own: see ``sendSYNACK(_:_:_:)``.
            if let crossing { options.append(crossing.option.span) }
            inject(rewrite(arrival.packet, options: options, template: bytes, &output), &output)
            drop(arrival.metadata.id, &output)
        case .opening where crossing != nil && arrival.packet.acknowledgment == inOrigin.sequence(at: 0):
            header.note(timestamps: options, arrival.now)
            restoreMSS(&options)
            guard let opening, options.append(opening.option.span) else {
                return drop(arrival.metadata.id, &output)
            }
            crossing?.isAnswered = true
            isNeverPlain = mustEncrypt
            let range = rewrite(arrival.packet, options: options, template: bytes, &output)
            output.actions.append(.replace(arrival.metadata.id, range, .undecided))
        default:
            drop(arrival.metadata.id, &output)
        }
    }

    /// A segment without SYN from the wire, while the peer's SYN-ACK is awaited: its first ACK, or nothing of this connection.
    func receiveFirstCrossedACK(
        _ crossing: Crossing, _ bytes: Span<UInt8>, _ arrival: Arrival, _ output: inout Output
    ) {
        let packet = arrival.packet
        guard packet.flags.contains(.ack), packet.acknowledgment == outOrigin.sequence(at: 0)
        else { return output.actions.append(.accept(arrival.metadata.id, .undecided)) }
        let isFirst = packet.sequence == inOrigin.sequence(at: 0)
        guard TCPOptions(packet, of: bytes).contains(ENO.optionKind) else {
            // What it continues decides, and comes again.
            guard packet.payload.isEmpty || isFirst else { return drop(arrival.metadata.id, &output) }
            let mark = becomePlain(.noENOOnACK, &output)
            if isRefused { return resetBoth(bytes, arrival, &output) }
            return output.actions.append(.accept(arrival.metadata.id, mark))
        }
        agree(local: localOffer, remote: crossing.remoteOffer)
        send.acknowledge(0, window: crossing.window)
        note(roundTripSince: handshakeStarted, arrival.now)
        beginKeyExchange(crossing.tep, crossing.transcript, arrival.now)
        needsENO = true
        enterJournal(&output)
        sendCrossedInit1(arrival.now, &output)
        inbound(bytes, arrival, &output)
    }

    /// A kernel that has had the peer's SYN need not acknowledge its SYN-ACK.
    func sendCrossedInit1(_ now: Instant, _ output: inout Output) {
        guard let init1 = send.engineOwned.first else { return }
        injectOwn(init1, flags: [.ack, .psh], options: ownOptions(now: now), &output)
        armEngineTimer(now)
    }
}
