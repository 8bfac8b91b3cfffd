public import FlowEngine
import PacketWire

/// A model of one TCP socket as a Linux-like kernel runs it: hard on whatever sits between it and the wire.
///
/// Offsets count data bytes from 0; the SYN is -1 and the FIN the offset behind the last byte. The parts:
/// `+Handshake`, `+Sending` (data, retransmissions), `+Acknowledging` (what arrives about sent data),
/// `+Receiving`, `+Timers`.
public final class KernelTCP {
    public enum State: Sendable { case synSent, synReceived, established, timeWait, closed }

    public let configuration: KernelConfiguration
    public let tuple: FlowTuple
    public let isOpener: Bool
    public internal(set) var state: State {
        didSet { if state == .established, oldValue != .established { onEstablished?() } }
    }
    /// Called when the handshake is complete, in the midst of it.
    public var onEstablished: (() -> Void)?
    public internal(set) var failure: SocketFailure?
    /// Packets for the device, oldest first; the owner takes them.
    public var outbox: [WirePacket] = []
    /// What the kernel was given that no correct engine hands to a kernel.
    public internal(set) var violations: [String] = []
    public internal(set) var subflow: SubflowModel?
    var random: SeededRandom

    // MARK: Sending

    let outOrigin: SequenceOrigin
    let stream: PatternStream
    public internal(set) var writeEnd = 0
    public internal(set) var isShutDown = false
    var una = -1
    var sndNxt = -1
    var rightEdge = 0
    var windowUpdateSequence = -1
    var peerScale = 0
    var scoreboard = Scoreboard()
    var congestionWindow: Double
    var slowStartThreshold = Double.infinity
    var recoveryPoint: Int?
    var duplicateAcks = 0
    /// Where the window was reduced last, and what it was before: D-SACKs for all that was sent again since then
    /// show that it need not have been.
    var undo: (marker: Int, retransmissions: Int, window: Double, threshold: Double)?
    var mustRetransmitOne = false
    /// Offset behind the last urgent byte sent.
    public internal(set) var urgentEnd = 0

    // MARK: Receiving

    var inOrigin = SequenceOrigin(initial: SequenceNumber(0))
    var rcvNxt = 0
    /// `rcvNxt` when an acknowledgement was last sent.
    var rcvWup = 0
    var advertisedEdge = 0
    var localScale = 0
    var inbox: [UInt8] = []
    var inboxHead = 0
    var reassembly = ReassemblyQueue()
    /// Offset of the peer's FIN, once seen.
    var peerFIN: Int?
    public internal(set) var hasReceivedFIN = false
    var dsack: Range<Int>?
    var owesAck = false
    /// How many acknowledgements more are not delayed.
    var quickAcks = 0
    var lastDataArrival: Instant?
    var unacknowledgedSegments = 0
    /// Offset behind the last urgent byte announced by the peer.
    public internal(set) var peerUrgentEnd = 0

    // MARK: Negotiated

    var usesTimestamps = false
    var usesSACK = false
    var peerOffersScale = false
    var peerMSS = 536
    /// What the route takes.
    var pathMTU: Int
    var tsRecent: UInt32 = 0
    let timestampOffset: UInt32

    // MARK: Time

    var smoothedRoundTrip: Int64?
    /// When the SYN or SYN-ACK went out, until it is sent again: its answer measures the path.
    var handshakeSent: Instant?
    var roundTripVariance: Int64 = 0
    var backoff = 0
    var retransmitDeadline: Instant?
    var isTailProbe = false
    var delayedAckDeadline: Instant?
    var persistDeadline: Instant?
    var probesSent = 0
    var keepAliveDeadline: Instant?
    var timeWaitDeadline: Instant?
    var lastChallenge: Instant?
    public internal(set) var coverage: Coverage = [:]

    public init(
        _ configuration: KernelConfiguration, tuple: FlowTuple, isOpener: Bool, stream: PatternStream,
        subflow: SubflowModel? = nil, initialSequence: UInt32, random: SeededRandom
    ) {
        self.configuration = configuration
        self.tuple = tuple
        self.isOpener = isOpener
        self.stream = stream
        self.subflow = subflow
        self.random = random
        state = isOpener ? .synSent : .synReceived
        outOrigin = SequenceOrigin(initial: SequenceNumber(initialSequence))
        congestionWindow = Double(configuration.initialWindow)
        pathMTU = configuration.mtu
        timestampOffset = self.random.chance(0.3) ? 0xffff_f000 : UInt32(truncatingIfNeeded: self.random.next())
    }

    func note(_ happening: Happening) { coverage[happening, default: 0] += 1 }

    public var initialSequence: UInt32 { outOrigin.initial.rawValue }

    // MARK: The socket interface

    /// Takes at most `count` bytes of the stream; returns how many.
    public func write(upTo count: Int, now: Instant) -> Int {
        guard !isShutDown, failure == nil else { return 0 }
        let taken = max(0, min(count, configuration.sendBuffer - (writeEnd - max(0, una))))
        writeEnd += taken
        if taken > 0, random.chance(configuration.urgentRate) { urgentEnd = writeEnd }
        transmit(now)
        return taken
    }

    public var hasSendRoom: Bool { writeEnd - max(0, una) < configuration.sendBuffer }

    /// Bytes that arrived in order, at most `limit`.
    public func read(limit: Int, now: Instant) -> ArraySlice<UInt8> {
        let count = min(limit, inbox.count - inboxHead)
        guard count > 0 else { return [] }
        let result = inbox[inboxHead..<inboxHead + count]
        inboxHead += count
        if inboxHead == inbox.count {
            inbox.removeAll(keepingCapacity: true)
            inboxHead = 0
        }
        announceRoom(now)
        return result
    }

    public var readableCount: Int { inbox.count - inboxHead }
    /// The peer's FIN was reached and everything before it read.
    public var isAtEnd: Bool { hasReceivedFIN && readableCount == 0 }
    public var isFinAcknowledged: Bool { isShutDown && una > writeEnd }

    /// No more writes: a FIN follows the last byte.
    public func shutDownWriting(now: Instant) {
        guard !isShutDown, failure == nil else { return }
        isShutDown = true
        transmit(now)
    }

    /// A close with a reset.
    public func abort(now: Instant, failure reason: SocketFailure = .aborted) {
        guard failure == nil, state != .closed else { return }
        if state == .established || state == .synReceived { emit(flags: [.rst, .ack], now: now) }
        die(reason)
    }

    func die(_ reason: SocketFailure) {
        failure = reason
        state = .closed
        scoreboard = Scoreboard()
        for path in [\KernelTCP.retransmitDeadline, \.delayedAckDeadline, \.persistDeadline, \.keepAliveDeadline] {
            self[keyPath: path] = nil
        }
    }

    /// Both directions are done: TIME-WAIT where this end closed first.
    func closeIfDone(_ now: Instant) {
        guard state == .established, isFinAcknowledged, hasReceivedFIN else { return }
        retransmitDeadline = nil
        persistDeadline = nil
        keepAliveDeadline = nil
        state = .timeWait
        timeWaitDeadline = now.adding(milliseconds: closedFirst ? 60_000 : 0)
        if closedFirst { note(.timeWait) }
    }

    private var closedFirst: Bool { finSentFirst }
    var finSentFirst = false
    var mustLinger: Bool { state == .timeWait }

    // MARK: Writing packets

    var mss: Int { min(peerMSS, pathMTU - (tuple.local.address.isIPv6 ? 60 : 40)) }

    func timestamp(_ now: Instant) -> UInt32 {
        timestampOffset &+ UInt32(truncatingIfNeeded: now.nanoseconds / 1_000_000)
    }

    /// A segment without data.
    func emit(
        at offset: Int? = nil, flags: TCPFlags, options: TCPOptions? = nil, now: Instant
    ) {
        send(at: offset ?? sndNxt, flags: flags, options: options ?? self.options(mapping: nil, now: now), [], now)
    }

    func sendAck(_ now: Instant) { emit(flags: [.ack], now: now) }

    func send(
        at offset: Int, flags: TCPFlags, options: TCPOptions, _ payload: [UInt8], _ now: Instant,
        segmentSize: Int? = nil
    ) {
        var header = TCPHeader(
            sequence: outOrigin.sequence(at: offset), acknowledgment: SequenceNumber(0), flags: flags,
            window: selectWindow(isSYN: flags.contains(.syn)))
        if flags.contains(.ack) {
            header.acknowledgment = inOrigin.sequence(at: rcvNxt)
            noteAckSent()
        }
        if urgentEnd > offset, urgentEnd - offset < 0xffff, !payload.isEmpty {
            note(.urgent)
            header.flags.insert(.urg)
            header.urgentPointer = UInt16(urgentEnd - offset)
        }
        noteSent(offset, payload.count, header.flags, segmentSize)
        let bytes = PacketBuilder.packet(
            from: tuple.local, to: tuple.remote, header, options: options, payload: payload, checksum: .leftToKernel)
        outbox.append(WirePacket(bytes, segmentSize: segmentSize, hasPartialChecksum: true))
    }

    private func noteSent(_ offset: Int, _ count: Int, _ flags: TCPFlags, _ segmentSize: Int?) {
        if segmentSize != nil { note(.superPacketOut) }
        if flags.contains(.rst) { note(.reset) }
        let isBehindWrap = outOrigin.sequence(at: offset + count).rawValue < outOrigin.sequence(at: offset).rawValue
        if count > 0, isBehindWrap { note(.wrap) }
    }

    private func noteAckSent() {
        rcvWup = rcvNxt
        owesAck = false
        unacknowledgedSegments = 0
        delayedAckDeadline = nil
        dsack = nil
    }

    /// Options of a segment behind the handshake.
    func options(mapping: Range<Int>?, now: Instant) -> TCPOptions {
        var options = TCPOptions()
        if usesTimestamps { options.append(timestampOption(now)) }
        if let subflow { options.append(subflow.option(mapping: mapping)) }
        appendSACK(to: &options)
        return options
    }

    func timestampOption(_ now: Instant) -> [UInt8] {
        var option: [UInt8] = [TCPOptionKind.timestamps, 10]
        option.append(bigEndian: timestamp(now))
        option.append(bigEndian: tsRecent)
        return option
    }

    private func appendSACK(to options: inout TCPOptions) {
        let blocks = ([dsack].compactMap(\.self) + reassembly.blocks).prefix((options.room - 2) / 8)
        guard usesSACK, !blocks.isEmpty, options.room >= 10 else { return }
        var option: [UInt8] = [TCPOptionKind.sack, UInt8(2 + 8 * min(4, blocks.count))]
        for block in blocks.prefix(4) {
            option.append(bigEndian: inOrigin.sequence(at: block.lowerBound).rawValue)
            option.append(bigEndian: inOrigin.sequence(at: block.upperBound).rawValue)
        }
        options.append(option)
        note(dsack == nil ? .sack : .dsack)
    }

    /// The window to announce now: never less than announced before.
    private func selectWindow(isSYN: Bool) -> UInt16 {
        let free = max(0, configuration.receiveBuffer - readableCount - reassembly.byteCount)
        let isTiny = free < min(mss, configuration.receiveBuffer / 2)
        let shift = isSYN ? 0 : localScale
        let promised = advertisedEdge - rcvNxt
        var units = (isTiny ? 0 : free) >> shift
        if units << shift < promised { units = (promised + (1 << shift) - 1) >> shift }
        units = min(units, 0xffff)
        advertisedEdge = max(advertisedEdge, rcvNxt + units << shift)
        if units == 0, state == .established { note(.zeroWindow) }
        return UInt16(units)
    }

    /// Tells the peer of room that reading made, once it is worth a packet.
    private func announceRoom(_ now: Instant) {
        guard state == .established, !hasReceivedFIN else { return }
        let free = configuration.receiveBuffer - readableCount - reassembly.byteCount
        let open = advertisedEdge - rcvNxt
        if free >= 2 * open, free >= min(mss, configuration.receiveBuffer / 2) { sendAck(now) }
    }
}
