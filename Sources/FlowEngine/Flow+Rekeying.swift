import PacketWire
import Tcpcrypt

/// New keys while the connection goes on, and proof that the peer lives (RFC 8548 sections 3.8 and 3.9).
extension Flow {
    /// A frame with rekey = 1 wants one back; it also proves that this host is alive.
    func answerRekey(_ now: Instant, _ output: inout Output) {
        guard let sealer, let opener, sealer.generation < opener.generation else { return }
        guard mayOwnMore else { return abort(.rekeying, now: now, &output) }
        sealOwn(rekey: true, now, &output)
    }

    /// Begins a new generation with a frame without data, which makes a peer that lives authenticate one of its own.
    ///
    /// One at a time, as RFC 8548 section 3.8 demands.
    @discardableResult
    func initiateRekeying(_ now: Instant, _ output: inout Output) -> Bool {
        guard let sealer, let opener, send.finK == nil, sealer.generation <= opener.generation, mayOwnMore else {
            return false
        }
        sealOwn(rekey: true, now, &output)
        return true
    }

    /// Frames of our own go out at once, as RFC 8548 section 3.8 demands, so they need not fit the peer's window. A peer that
    /// acknowledges none of them gets only so many.
    var mayOwnMore: Bool { send.engineOwned.count < Self.mostOwned }
    static let mostOwned = 256

    /// Seals and sends a frame without data.
    func sealOwn(
        rekey: Bool, signals: borrowing TCPOptions = TCPOptions(), _ now: Instant, _ output: inout Output
    ) {
        let start = send.nextW
        sealEmptyFrame(rekey: rekey, signals: signals)
        guard send.nextW > start else { return }
        injectOwn(start..<send.nextW, flags: [.ack, .psh], options: ownOptions(now: now), &output)
        armEngineTimer(now)
    }

    // MARK: Volume and age

    /// Whether the next frame begins a new generation, with data as it is.
    var isKeyWornOut: Bool {
        guard let sealer, let opener, sealer.countUnderKey >= host.configuration.mostBytesUnderKey else { return false }
        // A peer that has signed its end does not answer.
        return sealer.generation <= opener.generation || receive.signedEndW != nil
    }

    /// Keys that were used do not become older than this. Of an idle connection nothing more can be read with those of now.
    func armRekeyTimer(_ now: Instant) {
        rekeyDeadline = now.adding(milliseconds: host.configuration.oldestKeyMilliseconds)
    }

    func keyAgeDue(_ now: Instant, _ output: inout Output) {
        rekeyDeadline = nil
        guard phase == .encrypted, !isReset, !isFinished else { return }
        let place = StreamPlace(sent: send.nextK, received: receive.nextK)
        if place != rekeyedAt {
            rekeyedAt = place
            initiateRekeying(now, &output)
        }
        armRekeyTimer(now)
    }

    /// An operator wants new keys; false where the connection has none.
    func requestRekeying(_ now: Instant) -> Bool {
        guard phase == .encrypted, !isReset, !isFinished, send.finK == nil else { return false }
        rekeyedAt = nil
        rekeyDeadline = now
        return true
    }

    // MARK: Life

    /// Answers the question of the local kernel whether the peer is alive (RFC 9293 section 3.8.4) with proof: the kernel's probe, which
    /// anybody could answer, becomes a frame that begins a new generation.
    ///
    /// - Returns: false where the packet is no such question, or the peer has signed its end and need not answer.
    func askForLife(_ k: Int, _ now: Instant, _ output: inout Output) -> Bool {
        let window = Int(header.remoteWindow) << header.remoteScale
        guard k < send.acknowledgedK, isQuiet, window >= header.wireMSS, opener != nil, send.finK == nil,
            receive.signedEndW == nil
        else {
            return false
        }
        asksForLife = true
        if !initiateRekeying(now, &output), let owned = send.engineOwned.first, owned.upperBound <= send.dataEndW {
            let w = max(owned.lowerBound, send.retransmittableW)..<owned.upperBound
            injectOwn(w, flags: [.ack, .psh], options: ownOptions(now: now), &output)
        }
        return true
    }

    private var isQuiet: Bool { send.nextK == send.acknowledgedK && send.backlog.isEmpty }

    /// Whether an acknowledgement says nothing but that somebody is there, who may be anybody: a kernel that asks for life is not shown it.
    ///
    /// MPTCP options may be news, but where news stand in frames, and a kernel that waits for a larger window has to see it.
    func isMereSignOfLife(_ options: borrowing TCPOptions, _ acknowledged: Int) -> Bool {
        guard asksForLife, isQuiet, receive.signedEndW == nil,
            !options.contains(TCPOptionKind.mptcp) || protectsSignals
        else { return false }
        return send.map.k(acknowledgedBy: acknowledged) <= header.toldAcknowledgedK
            && header.toldWindow >= header.wireMSS
    }
}

/// How far both directions are, in K.
struct StreamPlace: Equatable, Sendable {
    var sent: Int
    var received: Int
}
