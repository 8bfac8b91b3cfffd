import PacketWire
import Tcpcrypt

/// What a sender is told of packets that arrive out of order, which the local kernel does not see.
struct OutOfOrderAcknowledgements: Sendable {
    /// What they acknowledged, in W: a hole that closes begins a new count.
    private var acknowledgedW = -1
    private var sent = 0
    /// Packets that no acknowledgement has told of yet.
    private var untold = 0
    /// ``HeldPackets/blockChanges`` when the last acknowledgement left.
    private var toldChanges = 0

    /// How many go out at once: a sender that knows no SACK needs three to see a loss (RFC 5681 section 3.2).
    private static let atOnce = 3
    /// How many packets one may tell of, as Linux has it (`tcp_comp_sack_nr`).
    private static let mostUntold = 44

    /// How many SACK blocks one may tell of that changed: fewer than fit, for it may get lost.
    private static let mostChanges = 2

    /// Notes one more packet; whether to tell of it at once.
    mutating func isDue(at w: Int, changes: Int) -> Bool {
        if w != acknowledgedW { (acknowledgedW, sent) = (w, 0) }
        sent += 1
        untold += 1
        return sent <= Self.atOnce || untold >= Self.mostUntold || changes - toldChanges >= Self.mostChanges
    }

    /// An acknowledgement left.
    mutating func clear(changes: Int) {
        untold = 0
        toldChanges = changes
    }
}

/// How late packets are that others have overtaken: holes that close by themselves, before a repetition could.
///
/// With timestamps a sender finds out itself that it repeated something for nothing, and becomes more patient (RFC 8985 section 6.2).
/// To others holes are told late where packets are late.
struct Lateness: Sendable {
    private var hole: (w: Int, since: Instant)?
    /// In nanoseconds; 0 where nothing has been late.
    private(set) var most: Int64 = 0

    private static let longest: Int64 = 10_000_000

    /// Notes where the first hole begins now, in W; nil where there is none.
    mutating func note(hole w: Int?, _ now: Instant, roundTrip: Int64) {
        guard w != hole?.w else { return }
        if let since = hole?.since.nanoseconds {
            let age = now.nanoseconds - since
            // A repetition takes a round trip.
            most = age < roundTrip / 4 * 3 ? max(most, age) : most - most / 8
        }
        hole = w.map { ($0, now) }
    }

    /// When the first hole may be told of, if that is later than now.
    func patience(_ now: Instant, roundTrip: Int64) -> Instant? {
        guard most > 0, let hole else { return nil }
        let end = hole.since.nanoseconds + min(most + most / 4, roundTrip / 4, Self.longest)
        return end > now.nanoseconds ? Instant(nanoseconds: end) : nil
    }
}

/// Acknowledgements of what is held.
extension Flow {
    /// Tells the sender of a packet that arrived behind a hole, as the kernel would: the first few times at once, then of several
    /// together.
    ///
    /// - Parameter duplicate: what of it had arrived before, in W.
    func acknowledgeOutOfOrder(
        _ segment: Segment, duplicate: Range<Int>?, _ now: Instant, _ output: inout Output
    ) {
        if duplicate == nil {
            if header.timestampEcho == nil, let end = lateness.patience(now, roundTrip: roundTrip) {
                sackDeadline = sackDeadline ?? end
                return
            }
            let isAnswered = askForAcknowledgement(now, &output)
            let isDue = outOfOrder.isDue(at: currentAckW, changes: receive.held.blockChanges)
            guard isDue, !isAnswered else { return armSACKTimer(now) }
        }
        injectAck(latest: segment.w.lowerBound, duplicate: duplicate, now: now, &output)
    }

    /// Whether the kernel's acknowledgement of only a part of what has just been released to it need not leave: the next one
    /// follows at once. The sender would take what this one leaves out for lost, and repeat it.
    ///
    /// None follows the one that a reset provokes which the kernel did not take (RFC 5961 section 3.2): it has to leave.
    func isIntermediate(_ packet: TCPPacket, _ options: borrowing TCPOptions) -> Bool {
        guard !isReset, receive.acknowledgedK < receive.releasedK, !needsENO, !options.contains(TCPOptionKind.sack),
            packet.flags.subtracting([.ack, .psh]).isEmpty, options.isMPTCPAcknowledgementOrNone
        else { return false }
        return outOrigin.offset(of: packet.sequence, near: send.queuedK) >= send.nextK
    }

    func armSACKTimer(_ now: Instant) {
        guard sackDeadline == nil else { return }
        sackDeadline = Instant(nanoseconds: now.nanoseconds + min(FlowTime.mostSACKDelay, roundTrip / 20))
    }

    /// Tells of what no acknowledgement has told of yet.
    func sackDue(_ now: Instant, _ output: inout Output) {
        sackDeadline = nil
        guard phase == .encrypted || phase == .keyExchange, !isReset else { return }
        if askForAcknowledgement(now, &output) { return armSACKTimer(now) }
        injectAck(now: now, &output)
    }

    /// An acknowledgement of everything that has arrived is leaving.
    func noteAcknowledged() {
        ackOwed = false
        ackDeadline = nil
        outOfOrder.clear(changes: receive.held.blockChanges)
        sackDeadline = nil
    }

    /// Makes the local kernel acknowledge at once what it has been given and delays to acknowledge.
    ///
    /// It would do so itself if it saw that something is missing. The sender of what lies behind a hole would else take what
    /// lies in front of it for lost as well. A segment with data beyond the window is dropped and answered, whatever its data.
    ///
    /// - Returns: whether an answer is to be expected very soon. It will carry the SACK blocks of what is held.
    private func askForAcknowledgement(_ now: Instant, _ output: inout Output) -> Bool {
        guard receive.deliveredK > receive.acknowledgedK, phase == .encrypted, !isReset else { return false }
        if let asked, asked.k == receive.deliveredK {
            return now.nanoseconds - asked.at.nanoseconds < FlowTime.answer
        }
        asked = (receive.deliveredK, now)
        var options = TCPOptions()
        appendTimestamps(to: &options)
        let beyond = receive.acknowledgedK + Self.beyondEveryWindow
        let fields = TCPHeader(
            sequence: inOrigin.sequence(at: beyond),
            acknowledgment: outOrigin.sequence(at: send.acknowledgedK), flags: [.ack],
            window: kernelWindow(send.acknowledgedW, header.remoteWindow))
        guard
            let range = host.make(
                fields, from: tuple.remote, to: tuple.local, options: options, zeros: 1, &output)
        else { return false }
        output.actions.append(.injectLocal(range))
        return true
    }

    /// The peer's latest timestamp, for a segment to the local kernel that did not come from it.
    func appendTimestamps(to options: inout TCPOptions) {
        guard header.usesTimestamps, let latest = header.timestampEcho else { return }
        let option = [TCPOptionKind.timestamps, 10] + latest.bigEndianBytes + header.timestampValue.bigEndianBytes
        options.append(option.span)
    }

    /// No window reaches there, whatever the kernel has advertised that has not come here yet (RFC 7323 section 2.3: less than
    /// 2^30), and it is not half the sequence space away, where "behind" would begin.
    static let beyondEveryWindow = 3 << 29
}

extension TCPOptions {
    /// Whether an MPTCP option, if there is one, does no more than acknowledge data (a DSS without a mapping, RFC 8684 section
    /// 3.3): a later one says the same and more.
    fileprivate var isMPTCPAcknowledgementOrNone: Bool {
        guard let range = range(of: TCPOptionKind.mptcp) else { return true }
        let dss: UInt8 = 2
        let mappingOrEnd: UInt8 = 0x14
        return range.count >= 4 && span[range.lowerBound + 2] >> 4 == dss
            && span[range.lowerBound + 3] & mappingOrEnd == 0
    }
}
