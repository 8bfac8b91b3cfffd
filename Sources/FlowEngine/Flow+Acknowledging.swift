import PacketWire
import Tcpcrypt

/// What a sender is told of packets that arrive out of order, which the local kernel does not see.
struct OutOfOrderAcknowledgements: Sendable {
    /// What they acknowledged, in W: a hole that closes begins a new count.
    private var acknowledgedW = -1
    private var sent = 0
    /// Packets that no acknowledgement has told of yet.
    private var untold = 0

    /// How many go out at once: a sender that knows no SACK needs three to see a loss (RFC 5681 section 3.2).
    private static let atOnce = 3
    /// How many packets one may tell of, as Linux has it (`tcp_comp_sack_nr`).
    private static let mostUntold = 44

    /// Notes one more packet; whether to tell of it at once.
    mutating func isDue(at w: Int) -> Bool {
        if w != acknowledgedW { (acknowledgedW, sent) = (w, 0) }
        sent += 1
        untold += 1
        return sent <= Self.atOnce || untold >= Self.mostUntold
    }

    mutating func clear() { untold = 0 }
}

/// Acknowledgements of what is held.
extension Flow {
    /// Tells the sender of a packet that arrived behind a hole, as the kernel would: the first few times at once, then of several
    /// together.
    ///
    /// - Parameter duplicate: what of it had arrived before, in W.
    func acknowledgeOutOfOrder(
        _ bytes: Span<UInt8>, _ segment: Segment, duplicate: Range<Int>?, _ arrival: Arrival, _ output: inout Output
    ) {
        if duplicate == nil {
            if askForAcknowledgement(bytes, arrival, &output) { return }
            guard outOfOrder.isDue(at: currentAckW) else {
                if sackDeadline == nil {
                    let delay = min(FlowTime.mostSACKDelay, roundTrip / 20)
                    sackDeadline = Instant(nanoseconds: arrival.now.nanoseconds + delay)
                }
                return
            }
        }
        injectAck(latest: segment.w.lowerBound, duplicate: duplicate, now: arrival.now, &output)
    }

    /// Tells of the packets that no acknowledgement has told of yet.
    func sackDue(_ now: Instant, _ output: inout Output) {
        sackDeadline = nil
        if !receive.held.isEmpty { injectAck(now: now, &output) }
    }

    /// An acknowledgement of everything that has arrived is leaving.
    func noteAcknowledged() {
        ackOwed = false
        outOfOrder.clear()
        sackDeadline = nil
    }

    /// Makes the local kernel acknowledge at once what it has been given and delays to acknowledge.
    ///
    /// It would do so itself if it saw that something is missing. The sender of what lies behind a hole would else take what
    /// lies in front of it for lost as well. A segment with data beyond the window is dropped and answered, whatever its data.
    ///
    /// - Returns: whether an answer is to be expected very soon. It will carry the SACK blocks of what is held.
    private func askForAcknowledgement(_ bytes: Span<UInt8>, _ arrival: Arrival, _ output: inout Output) -> Bool {
        guard receive.deliveredK > receive.acknowledgedK, phase == .encrypted, !isReset else { return false }
        if let asked, asked.k == receive.deliveredK {
            return arrival.now.nanoseconds - asked.at.nanoseconds < FlowTime.answer
        }
        asked = (receive.deliveredK, arrival.now)
        var options = TCPOptions(arrival.packet, of: bytes)
        for kind in [ENO.optionKind, TCPOptionKind.sack, TCPOptionKind.mptcp] { options.remove(kind) }
        refreshTimestamp(of: &options)
        let beyond = receive.acknowledgedK + header.localWindow + Self.farBeyond
        let fields = TCPHeader(
            sequence: inOrigin.sequence(at: beyond),
            acknowledgment: outOrigin.sequence(at: send.acknowledgedK), flags: [.ack], window: arrival.packet.window)
        guard
            let range = host.make(
                fields, from: tuple.remote, to: tuple.local, options: options, zeros: 1, &output)
        else { return false }
        output.actions.append(.injectLocal(range))
        return true
    }

    private static let farBeyond = 1 << 20
}
