import PacketWire
import Tcpcrypt

/// Resets that are announced in frames (see the article ProtectedSignalling).
///
/// Whoever can write packets can write a reset, but not a frame. A peer that resets says so in one first; any other reset makes
/// this host ask the peer, which answers with a frame if it lives. One that has gone does not, and then the reset counts.
extension Flow {
    var signsResets: Bool { tep?.protectsSignals == true }

    // MARK: To the wire

    /// Says in a frame that a reset follows, or says it again.
    ///
    /// - Parameter kernel: the options of the reset.
    func announceReset(_ kernel: borrowing TCPOptions, _ now: Instant, _ output: inout Output) {
        guard signsResets, sealer != nil else { return }
        if signedReset == nil {
            guard send.finK == nil else { return }
            let start = send.nextW
            sealEmptyFrame(rekey: false, signals: kernel.resetSignals)
            guard send.nextW > start else { return }
            signedReset = start..<send.nextW
        }
        guard let w = signedReset, w.lowerBound >= send.retransmittableW, w.upperBound <= send.dataEndW else { return }
        injectOwn(w, flags: [.ack, .psh], options: ownOptions(now: now), &output)
    }

    /// The peer goes on: it has not had the announcement, or not the reset.
    func repeatReset(_ now: Instant, _ output: inout Output) {
        if let last = lastChallenge, now.milliseconds(since: last) < FlowTime.leastRetransmission { return }
        lastChallenge = now
        announceReset(TCPOptions(), now, &output)
        injectOwn(send.sentW..<send.sentW, flags: [.rst, .ack], options: TCPOptions(), &output)
    }

    // MARK: From the wire

    /// Whether a reset that no frame announced is to be doubted: the peer could have announced it, and can be asked.
    var doubtsResets: Bool {
        signsResets && isProven && opener != nil && !isReset && receive.signedEndW == nil && send.finK == nil
    }

    /// A reset that could be anybody's: the peer is asked.
    func doubtReset(_ options: borrowing TCPOptions, _ now: Instant, _ output: inout Output) {
        var current = doubtedReset ?? DoubtedReset(due: now.adding(milliseconds: FlowTime.unsignedReset))
        current.note(options)
        if doubtedReset == nil {
            host.counters.resetsDoubted += 1
            initiateRekeying(now, &output)
        }
        doubtedReset = current
    }

    /// The peer has not answered.
    func resetDue(_ now: Instant, _ output: inout Output) {
        let reset = doubtedReset
        doubtedReset = nil
        guard let reset, doubtsResets else { return }
        resetKernel(reset.options, now, &output)
    }

    /// Ends the local kernel's connection as the peer's ended.
    ///
    /// - Parameter signals: the MPTCP options of the reset.
    func resetKernel(_ signals: borrowing TCPOptions, _ now: Instant, _ output: inout Output) {
        var places = [receive.deliveredK]
        if receive.acknowledgedK != receive.deliveredK { places.append(receive.acknowledgedK) }
        for k in places {
            let fields = TCPHeader(
                sequence: inOrigin.sequence(at: k), acknowledgment: outOrigin.sequence(at: send.acknowledgedK),
                flags: [.rst, .ack], window: 0)
            guard let range = host.make(fields, from: tuple.remote, to: tuple.local, options: signals, &output)
            else { continue }
            output.actions.append(.injectLocal(range))
        }
        endByReset(now, &output)
        isResetByPeer = true
    }
}

/// A reset that counts if the peer does not answer.
struct DoubtedReset: Sendable {
    let due: Instant
    /// MPTCP's: those of the one that ends the whole connection, if there was such.
    private(set) var options = TCPOptions()

    init(due: Instant) { self.due = due }

    fileprivate mutating func note(_ received: borrowing TCPOptions) {
        guard options.count == 0 else { return }
        var found = TCPOptions()
        received.forEach(of: TCPOptionKind.mptcp) { option in
            if option.isResetSignal { found.append(option) }
        }
        options = found
    }
}

extension TCPOptions {
    /// MP_TCPRST with reason 0, unspecified (RFC 8684 section 3.6).
    private static let subflowReset: InlineArray<4, UInt8> = [TCPOptionKind.mptcp, 4, 0x80, 0]

    /// What the frame says that announces a reset with these options.
    fileprivate var resetSignals: TCPOptions {
        var signals = TCPOptions()
        var isReset = false
        forEach(of: TCPOptionKind.mptcp) { option in
            guard option.isResetSignal else { return }
            signals.append(option)
            isReset = true
        }
        if !isReset { signals.append(Self.subflowReset.span) }
        return signals
    }
}

extension Span<UInt8> {
    /// Whether an MPTCP option ends a subflow or the whole connection: MP_FASTCLOSE or MP_TCPRST.
    var isResetSignal: Bool { count >= 3 && (self[2] >> 4 == 7 || self[2] >> 4 == 8) }
}
