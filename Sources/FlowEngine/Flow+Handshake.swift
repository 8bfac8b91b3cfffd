import PacketWire
import Tcpcrypt

/// What both roles of the TCP-ENO handshake share.
extension Flow {
    /// Takes from the SYN of `direction` what both ends agreed on by sending it.
    func remember(syn packet: TCPPacket, _ options: borrowing TCPOptions, _ direction: Direction) -> SYNOffer {
        let size = Int(options.maximumSegmentSize ?? (packet.isIPv6 ? 1220 : 536))
        switch direction {
        case .outbound:
            outOrigin = SequenceOrigin(initial: packet.sequence)
            header.localMSS = size
            header.note(window: Int(packet.window))
        case .inbound:
            inOrigin = SequenceOrigin(initial: packet.sequence)
            header.remoteMSS = size
        }
        return SYNOffer(
            scale: options.windowScale, timestamps: options.timestamps != nil,
            sack: options.contains(TCPOptionKind.sackPermitted))
    }

    /// Both SYNs are known: what the connection uses.
    func agree(local: SYNOffer, remote: SYNOffer) {
        if let localScale = local.scale, let remoteScale = remote.scale {
            header.localScale = localScale
            header.remoteScale = remoteScale
        }
        header.usesTimestamps = local.timestamps && remote.timestamps
        header.usesSACK = local.sack && remote.sack
        header.wireMSS = max(Self.leastMSS, min(header.localMSS, header.remoteMSS))
        header.window = UInt16(clamping: header.localWindow >> header.localScale)
    }

    /// The SYN-ACK of a resumed subflow of MPTCP has no room for timestamps (DESIGN.md section 4): they begin with the third ACK. Our
    /// kernel is told of timestamps of 0 until then, which say nothing and are older than none. A peer that was told of none has to
    /// ignore them (RFC 7323 section 3.2).
    var startsTimestampsLate: Bool { mptcp != nil && (origin == .resumed || origin == .join) }

    /// The least MSS that is obeyed. One of a few bytes would make a packet of every few bytes of ciphertext, as Linux's
    /// `tcp_min_snd_mss` (48, CVE-2019-11479) prevents. Ours leaves room for all options, a frame's overhead and 64 bytes
    /// of data; no IPv4 host takes less than 536 bytes (RFC 9293 section 3.7.1), whatever it claims.
    static let leastMSS = TCPOptions.capacity + Frame.overhead + 2 + 64

    /// The MSS the local kernel is told: what a frame adds to a segment has to fit as well (DESIGN.md section 3).
    ///
    /// - Parameter arrival: a SYN or SYN-ACK from the wire.
    func loweredMSS(_ arrival: Arrival) -> UInt16 {
        var path = arrival.metadata.mtu > 0 ? arrival.metadata.mtu : Int.max
        if header.mtu > 0 { path = min(path, header.mtu) }
        path = min(path, host.paths.known(PathMTUs.Path(tuple), arrival.now) ?? path)
        let limit = path - (tuple.local.address.isIPv6 ? 60 : 40)
        let size = min(max(Self.leastMSS, min(header.remoteMSS, header.localMSS)), limit) - Frame.overhead
        return UInt16(clamping: max(64, size))
    }

    /// The options of a SYN from the wire as our kernel is to read them, without ENO.
    func loweringMSS(of wire: borrowing TCPOptions, _ arrival: Arrival) -> TCPOptions {
        var options = copy wire
        options.remove(ENO.optionKind)
        var lowered = options
        lowered.setMaximumSegmentSize(loweredMSS(arrival))
        return fits(lowered, arrival) ? lowered : options
    }

    /// Tells our kernel that there are timestamps; false where there is no room, as in a repetition without ENO.
    @discardableResult
    func setEmptyTimestamps(_ options: inout TCPOptions, _ arrival: Arrival) -> Bool {
        var edited = options
        guard edited.setEmptyTimestamps(), fits(edited, arrival) else { return false }
        options = edited
        return true
    }

    /// Whether they take no more room than those that came: verdicts do not lengthen packets.
    func fits(_ options: borrowing TCPOptions, _ arrival: Arrival) -> Bool {
        options.paddedCount <= arrival.packet.options.count
    }

    /// Our kernel offers to take what it would send: after path MTU discovery 20 bytes less than the path takes.
    func restoreMSS(_ options: inout TCPOptions) {
        let headers = tuple.local.address.isIPv6 ? 60 : 40
        guard header.kernelMTU < header.mtu, let size = options.maximumSegmentSize,
            Int(size) == header.kernelMTU - headers
        else { return }
        header.localMSS = header.mtu - headers
        options.setMaximumSegmentSize(UInt16(clamping: header.localMSS))
    }

    /// Writes a handshake segment anew with other options and no data.
    func rewrite(
        _ packet: TCPPacket, _ fields: TCPHeader? = nil, options: borrowing TCPOptions, template: Span<UInt8>,
        _ output: inout Output
    ) -> Range<Int> {
        let count = packet.length(options: options, payloadCount: 0)
        let start = output.allocate(count)
        var all = output.bytes.mutableSpan
        var target = all._mutatingExtracting(start..<start + count)
        packet.write(
            fields ?? TCPHeader(packet), options: options, template: template, checksum: .full, into: &target)
        return start..<start + count
    }

    /// Ordinary TCP from now on, as soon as the tokens of an MPTCP connection are known, and the kernel has taken the SYN.
    ///
    /// Where its policy forbids that it is refused instead.
    ///
    /// - Returns: the mark the rules may be given.
    func becomePlain(_ reason: FallbackReason, _ output: inout Output) -> FlowMark {
        guard !mustEncrypt else {
            refuse(reason, &output)
            return .undecided
        }
        guard lacksKeys || isUnconfirmed else {
            fallBack(reason, &output)
            return .plain
        }
        self.reason = reason
        phase = .observing
        return .undecided
    }

    /// Stops what has promised nothing yet: it goes on as ordinary TCP, or, being a join, not at all.
    func giveUpNegotiation(_ output: inout Output) {
        guard !isJoin else { return refuseJoin(.stopping, &output) }
        opening = nil
        accepting = nil
        _ = becomePlain(.stopping, &output)
        if isRefused { resetLocalHandshake(&output) }
    }

    /// Notes what the peer's ENO option says of it.
    func notePeer(_ option: Span<UInt8>) {
        let read = try? SYNFormENO(parsing: option)
        peerIsApplicationAware = read?.isApplicationAware
        if !isOpener { isOfferComplete = read?.suboptions.allSatisfy { $0.data == nil } ?? false }
    }

    /// A segment of an MPTCP connection that is plain, but whose keys are not known yet.
    func observe(_ bytes: Span<UInt8>, _ arrival: Arrival, _ output: inout Output) {
        let options = TCPOptions(arrival.packet, of: bytes)
        let isSYN = arrival.packet.flags.contains(.syn)
        learnKeys(options.mptcpOption(isSYN: isSYN), from: arrival.metadata.direction, &output)
        // A handshake that ends without keys is no MPTCP connection.
        let isOver = !isUnconfirmed && (mptcp?.keys != nil || !isSYN)
        if isOver { fallBack(reason ?? .noENO, &output) }
        output.actions.append(.accept(arrival.metadata.id, isOver ? .plain : .undecided))
    }

    /// A join that may not be: neither kernel shall have it.
    func refuseJoin(_ reason: JoinRefusal, _ output: inout Output) {
        phase = .aborted
        // Half-open in the local kernel, which would take any third ACK that came by.
        if accepting != nil { isNeverPlain = true }
        host.noteRefusedJoin(tuple, reason, token: joinToken, &output)
    }
}

/// What one SYN offers besides its MSS.
struct SYNOffer: Sendable {
    var scale: Int?
    var timestamps = false
    var sack = false
}

extension Flow {
    /// The window the local kernel is told where the peer, which counts in W, acknowledges `acknowledged` and offers `field`:
    /// what fits once it is in frames. Data beyond that would wait here, sent as the kernel believes; what it saw acknowledged
    /// of it after a timeout would make the kernel take the timeout for spurious (F-RTO, RFC 5682), again and again.
    ///
    /// What was told is not taken back, and repeated acknowledgements tell the same.
    func kernelWindow(_ acknowledged: Int, _ field: UInt16) -> UInt16 {
        let told = windowToTell(acknowledged, field)
        header.toldWindow = Int(told) << header.remoteScale
        return told
    }

    private func windowToTell(_ acknowledged: Int, _ field: UInt16) -> UInt16 {
        let segment = max(1, segmentLimit(Self.usualOptions))
        let offered = Int(field) << header.remoteScale
        guard send.largestWindow >= Self.narrowWindow * segment else {
            return offered > Frame.overhead ? field : min(field, 1)
        }
        if acknowledged + offered > header.toldEdge.w {
            let room = max(0, acknowledged + offered - send.nextW)
            let data = room - (room + segment - 1) / segment * Frame.overhead
            header.toldEdge = (acknowledged + offered, max(header.toldEdge.k, send.nextK + max(0, data)))
        }
        let told = min(offered, header.toldEdge.k - send.map.k(acknowledgedBy: acknowledged))
        // A window too small for a frame is none to the kernel, but one that opens by itself.
        return max(min(field, 1), UInt16(clamping: max(0, told) >> header.remoteScale))
    }

    /// A peer that never offers more segments than this has a window of which a kernel waits for half before it sends (RFC 1122
    /// section 4.2.3.4): told a little less than half, it would wait for its timer each time.
    private static let narrowWindow = 2
    /// Timestamps, aligned.
    private static let usualOptions = 12
}

extension HeaderMemory {
    /// Notes how much the local kernel takes, in bytes.
    mutating func note(window bytes: Int) { localWindow = bytes }

    /// Notes the local kernel's clock: packets of our own must not look older than its own (RFC 7323 section 5).
    mutating func note(timestamps options: borrowing TCPOptions, _ now: Instant) {
        guard let value = options.timestamps?.value else { return }
        timestampValue = value
        timestampTaken = now
    }

    /// Notes the peer's clock; a packet that was overtaken does not turn it back.
    mutating func hear(timestamp value: UInt32) {
        if let latest = timestampEcho, Int32(bitPattern: value &- latest) < 0 { return }
        timestampEcho = value
    }
}

extension FallbackReason {
    init(_ failure: ENOFailure) {
        switch failure {
        case .vacuous: self = .vacuousENO
        case .illFormed: self = .illFormedENO
        case .noCommonTEP: self = .noCommonTEP
        case .roleConflict: self = .roleConflict
        case .echoed: self = .echoedENO
        case .badResumption: self = .badResumption
        case .notApplicationAware: self = .notApplicationAware
        }
    }
}
