import PacketWire
import Tcpcrypt

/// What one flow knows of MPTCP's signalling in its frames (see the article ProtectedSignalling).
struct Signalling: Sendable {
    /// How far the local kernel has acknowledged the connection's data.
    var latestAck: UInt64?
    /// How far a frame on this flow has said so, and where the last one ends that did, in W.
    var sealedAck: UInt64?
    var ackFrameEnd = 0
    /// A frame has said that the local kernel has no more data.
    var hasSealedDataFIN = false
    /// The local kernel has fallen back to TCP; whether a frame has said so.
    var fallback = Fallback.none
    /// A frame of the peer's had a DSS: its kernel speaks MPTCP on this subflow.
    var hasHeardDSS = false
    /// The first DSS was one that says that the peer's kernel has fallen back to TCP.
    var hasHeardFallback = false
    /// How far a frame on any subflow has acknowledged the local kernel's data, as far as this flow knows.
    var authenticAck: UInt64?
    /// MPTCP options that frames brought for the local kernel, to be handed to it in segments without data.
    private(set) var arrived: [TCPOptions] = []

    mutating func takeArrived() -> [TCPOptions] {
        defer { arrived = [] }
        return arrived
    }

    /// A peer that says more before its kernel's first DSS, for which the others wait, is not heard.
    mutating func keepForKernel(_ signal: TCPOptions) {
        if arrived.count < Self.mostArrived || signal.span.isResetSignal { arrived.append(signal) }
    }

    private static let mostArrived = 64

    enum Fallback: Sendable { case none, untold, told }

    /// Whether to seal the latest acknowledgement now: the first; and one at a time, unless there is much to tell.
    func isFrameDue(acknowledgedW: Int) -> Bool {
        if fallback == .untold { return true }
        guard let latestAck, sealedAck != latestAck else { return false }
        guard let sealedAck else { return true }
        let news = Int64(bitPattern: latestAck &- sealedAck)
        return news > 0 && (ackFrameEnd <= acknowledgedW || news >= Self.muchAcknowledged)
    }

    private static let muchAcknowledged: Int64 = 1 << 16
}

/// MPTCP's signalling from the local kernel to the wire: inside frames, and nowhere else once there are keys.
extension Flow {
    /// Whether MPTCP options travel in frames on this flow, in both directions.
    var protectsSignals: Bool { mptcp != nil && tep?.protectsSignals == true }

    private var maySealSignals: Bool { sealer != nil && send.finK == nil && mayOwnMore && protectsSignals }

    /// Whether a segment without data says more than an acknowledgement does.
    func needsFrame(_ kernel: borrowing TCPOptions) -> Bool {
        signals(of: kernel, isNewData: false).count > 0
    }

    /// Seals what a segment without new data says in a frame of its own, which is to go in that segment.
    ///
    /// - Returns: the frame's place in W; nil where there is nothing to seal.
    func sealSignals(of kernel: borrowing TCPOptions, _ now: Instant) -> Range<Int>? {
        guard maySealSignals else { return nil }
        noteAck(of: kernel)
        noteFallback(kernel)
        let signals = signals(of: kernel, isNewData: false)
        guard signals.count > 0 || signalling.isFrameDue(acknowledgedW: send.acknowledgedW) else { return nil }
        let start = send.nextW
        sealEmptyFrame(rekey: false, signals: frameSignals(signals))
        guard send.nextW > start else { return nil }
        armEngineTimer(now)
        return start..<send.nextW
    }

    /// The same for a segment with data, in a packet of its own in front of it.
    func sendSignals(of kernel: borrowing TCPOptions, isNewData: Bool, _ now: Instant, _ output: inout Output) {
        guard maySealSignals else { return }
        noteAck(of: kernel)
        let signals = signals(of: kernel, isNewData: isNewData)
        if signals.count > 0 { sealOwn(rekey: false, signals: signals, now, &output) }
    }

    /// Tells the peer what has been acknowledged since it was told last, where nothing else brought it along.
    func tellAcknowledgment(_ now: Instant, _ output: inout Output) {
        guard signalling.isFrameDue(acknowledgedW: send.acknowledgedW), maySealSignals else { return }
        sealOwn(rekey: false, signals: frameSignals(TCPOptions()), now, &output)
    }

    /// What of a kernel's segment needs a frame of its own: all but its mapping, its acknowledgement, and what the handshake needs.
    private func signals(of kernel: borrowing TCPOptions, isNewData: Bool) -> TCPOptions {
        var signals = TCPOptions()
        let isFINKnown = isNewData || signalling.hasSealedDataFIN
        kernel.forEach(of: TCPOptionKind.mptcp) { option in
            switch MPTCPOption(option, isSYN: false) {
            case .capableACK, .joinACK: break
            case .dss: if !isFINKnown { signals.appendDataFIN(of: option) }
            default: signals.append(option)
            }
        }
        return signals
    }

    /// What the frames say of the data of a kernel's segment: its mapping; empty where it has none.
    func mapping(of kernel: borrowing TCPOptions) -> TCPOptions {
        var mapping = TCPOptions()
        guard protectsSignals else { return mapping }
        kernel.forEach(of: TCPOptionKind.mptcp) { option in
            if let dss = DSSOption(option), dss.hasMapping {
                mapping.appendDSS(acknowledging: nil, mappedAs: option)
            } else if case .capableACK = MPTCPOption(option, isSYN: false), option.count > 20 {
                mapping.append(option)
            }
        }
        return mapping
    }

    /// `signals` and, where that is news, how far the local kernel has acknowledged data.
    func frameSignals(_ signals: borrowing TCPOptions) -> TCPOptions {
        if signalling.fallback == .untold, signals.count == 0 {
            var fallback = TCPOptions()
            fallback.appendInfiniteMapping()
            return fallback
        }
        guard protectsSignals, let ack = signalling.latestAck, ack != signalling.sealedAck else { return copy signals }
        var all = TCPOptions()
        if signals.count > 0, DSSOption(signals.span) != nil {
            all.appendDSS(acknowledging: ack, mappedAs: signals.span)
            return all
        }
        all.appendDSS(acknowledging: ack)
        return all.append(signals.span) ? all : copy signals
    }

    /// A frame with these has been sealed.
    func noteSealed(_ signals: borrowing TCPOptions) {
        guard signals.count > 0 else { return }
        signals.forEach(of: TCPOptionKind.mptcp) { option in
            guard let dss = DSSOption(option) else { return }
            if dss.acknowledgment != nil {
                signalling.sealedAck = signalling.latestAck
                signalling.ackFrameEnd = send.nextW
            }
            if dss.isDataFIN { signalling.hasSealedDataFIN = true }
            if dss.isInfinite, signalling.fallback == .untold { signalling.fallback = .told }
        }
    }

    /// A kernel that acknowledges its first data without MPTCP has fallen back, and the peer's has to do so too.
    private func noteFallback(_ kernel: borrowing TCPOptions) {
        guard !isOpener, !isJoin, signalling.fallback == .none, receive.acknowledgedK > 0, signalling.latestAck == nil,
            !kernel.contains(TCPOptionKind.mptcp)
        else { return }
        signalling.fallback = .untold
    }

    private func noteAck(of kernel: borrowing TCPOptions) {
        kernel.forEach(of: TCPOptionKind.mptcp) { option in
            guard let value = DSSOption(option)?.acknowledgment, let key = mptcp?.remoteKey else { return }
            let known = signalling.latestAck ?? MPTCPTracker.initialSequence(of: key, host.crypto) &+ 1
            let ack = value.expanded(near: known)
            if signalling.latestAck == nil || Int64(bitPattern: ack &- known) > 0 { signalling.latestAck = ack }
        }
    }
}

extension TCPOptions {
    /// Leaves of MPTCP what is not in frames: the options that establish a subflow, without data; and of a segment without data the
    /// acknowledgement, which makes room for the one that the peer's kernel gets in its place.
    mutating func keepOpenSignals(isData: Bool) {
        guard contains(TCPOptionKind.mptcp) else { return }
        let all = self
        remove(TCPOptionKind.mptcp)
        all.forEach(of: TCPOptionKind.mptcp) { option in
            switch MPTCPOption(option, isSYN: false) {
            case .capableACK, .joinACK: append(option)
            case .dss where !isData:
                if let value = DSSOption(option)?.acknowledgment { appendDSS(acknowledging: value.expanded(near: 0)) }
            default: break
            }
        }
        dropMPTCPDataLength()
    }
}
