import PacketWire

/// What a ``ProxyAck`` knows of one direction of a connection. Offsets count from the first byte behind the SYN.
final class ProxyStream: NetworkDevice {
    enum Taken { case stored, known, full }

    /// What a SYN said that matters later.
    private struct Handshake {
        var windowScale: Int?
        var usesSACK = false
        var usesTimestamps = false

        init() {}
        init(_ options: TCPOptions) {
            windowScale = options.windowScale
            usesSACK = options.contains(TCPOptionKind.sackPermitted)
            usesTimestamps = options.timestamps != nil
        }
    }

    private struct Segment {
        var packet: WirePacket
        var range: Range<Int>
        var isSacked = false
        var sentAt: Int64?
        var isRepeated = false
    }

    private static let capacity = 1 << 20
    private weak var proxy: ProxyAck?
    private(set) var origin: SequenceOrigin?
    private(set) var receiverInitial: SequenceNumber?
    private var senderSYN: Handshake?
    private var receiverSYN: Handshake?

    /// In order and not acknowledged by the receiver, then what came ahead of its turn.
    private var stored: [Segment] = []
    private var early: [Segment] = []
    private var storedBytes = 0
    /// Acknowledged to the sender: all before it was taken over.
    private(set) var taken = 0
    /// Acknowledged by the receiver.
    private var delivered = 0
    private var sentCount = 0
    private var edge = 0
    private var duplicates = 0
    private var recoverUntil = 0

    /// The newest header of either end, for what is sent in its name.
    private var sender: (header: TCPHeader, timestamp: UInt32, echo: UInt32)?
    private var receiver: (packet: WirePacket, header: TCPHeader, timestamp: UInt32)?
    private var shownAck = 0
    private var shownWindow: UInt16 = 0
    private var shownEdge = 0

    var isArmed = false
    private var smoothed: Int64 = 100_000_000
    private var backoff: Int64 = 1
    private var lastProgress: Int64 = 0

    init(_ proxy: ProxyAck) { self.proxy = proxy }

    func transmit(_ packet: WirePacket, on network: EventQueue) {}

    func wake(on network: EventQueue) {
        isArmed = false
        proxy?.handleTimer(self, network)
    }

    /// Both SYNs were seen.
    var isReady: Bool { origin != nil && senderSYN != nil && receiverSYN != nil }

    func offset(of sequence: SequenceNumber) -> Int { origin?.offset(of: sequence, near: taken) ?? 0 }

    private var usesSACK: Bool { senderSYN?.usesSACK == true && receiverSYN?.usesSACK == true }
    private var usesTimestamps: Bool { senderSYN?.usesTimestamps == true && receiverSYN?.usesTimestamps == true }
    /// Of the receiver's window; both must have named one.
    private var scale: Int { senderSYN?.windowScale == nil ? 0 : receiverSYN?.windowScale ?? 0 }
}

// MARK: - The sender's side

extension ProxyStream {
    func noteSenderSYN(_ packet: WirePacket, _ parsed: TCPPacket) {
        origin = SequenceOrigin(initial: parsed.sequence)
        senderSYN = Handshake(TCPOptions(parsed, of: packet.bytes.span))
    }

    func copyReceiver(of other: ProxyStream) {
        (receiverSYN, receiverInitial, receiver) = (other.receiverSYN, other.receiverInitial, other.receiver)
        edge = other.edge
    }

    func noteSender(_ packet: WirePacket, _ parsed: TCPPacket) {
        if let sender, parsed.acknowledgment.distance(from: sender.header.acknowledgment) < 0 { return }
        let timestamps = TCPOptions(parsed, of: packet.bytes.span).timestamps
        sender = (TCPHeader(parsed), timestamps?.value ?? 0, timestamps?.echo ?? 0)
    }

    /// Takes over the data of a segment.
    func take(_ packet: WirePacket, _ parsed: TCPPacket, _ start: Int) -> Taken {
        let range = start..<start + parsed.payload.count
        guard range.upperBound > taken else { return .known }
        guard storedBytes + range.count <= Self.capacity else { return .full }
        let segment = Segment(packet: packet, range: range)
        if start > taken {
            guard !early.contains(where: { $0.range == range }) else { return .known }
            early.insert(segment, at: early.firstIndex { $0.range.lowerBound > start } ?? early.count)
            storedBytes += range.count
            return .stored
        }
        append(segment)
        storedBytes += range.count
        while let first = early.first, first.range.lowerBound <= taken {
            early.removeFirst()
            if first.range.upperBound > taken { append(first) } else { storedBytes -= first.range.count }
        }
        return .stored
    }

    private func append(_ segment: Segment) {
        stored.append(segment)
        taken = segment.range.upperBound
    }

    /// An acknowledgement in the receiver's name.
    func acknowledgement() -> WirePacket? {
        guard let receiver, let parsed = receiver.packet.parsed, let origin else { return nil }
        var header = receiver.header
        show(max(taken, delivered))
        header.acknowledgment = origin.sequence(at: shownAck)
        header.flags = [.ack]
        header.window = shownWindow
        header.urgentPointer = 0
        var options = TCPOptions()
        if usesTimestamps, let sender { options.appendTimestamps(receiver.timestamp, sender.timestamp) }
        if usesSACK, !early.isEmpty { options.appendSACK(earlyRanges.prefix(3).map { $0 }, origin) }
        return receiver.packet.rewritten(parsed, header, options: options, payload: 0..<0)
    }

    private var earlyRanges: [Range<Int>] {
        var ranges: [Range<Int>] = []
        for segment in early {
            if let last = ranges.last, segment.range.lowerBound <= last.upperBound {
                ranges[ranges.count - 1] = last.lowerBound..<max(last.upperBound, segment.range.upperBound)
            } else {
                ranges.append(segment.range)
            }
        }
        return ranges
    }

    /// The window to show: what the receiver has, as far as it can be kept here, and never less than promised.
    private func room(_ ack: Int) -> UInt16 {
        let bytes = min(max(0, edge - delivered), max(0, Self.capacity - storedBytes))
        return UInt16(clamping: max(bytes, shownEdge - ack) >> scale)
    }

    private func show(_ ack: Int) {
        shownAck = ack
        shownWindow = room(ack)
        shownEdge = max(shownEdge, ack + Int(shownWindow) << scale)
    }
}

// MARK: - The receiver's side

extension ProxyStream {
    func noteReceiverSYN(_ packet: WirePacket, _ parsed: TCPPacket) {
        let options = TCPOptions(parsed, of: packet.bytes.span)
        receiverSYN = Handshake(options)
        receiverInitial = parsed.sequence
        if let origin, parsed.flags.contains(.ack) {
            // Data of the SYN itself (TCP Fast Open).
            delivered = max(0, origin.offset(of: parsed.acknowledgment, near: 0))
            taken = max(taken, delivered)
        }
        edge = delivered + Int(parsed.window)
        shownEdge = edge
        var header = TCPHeader(parsed)
        header.sequence = parsed.sequence + 1
        receiver = (packet, header, options.timestamps?.value ?? 0)
    }

    /// Learns what the receiver has; returns what it has to be sent again.
    func noteReceiver(_ packet: WirePacket, _ parsed: TCPPacket, now: Int64) -> [WirePacket] {
        guard let origin else { return [] }
        let options = TCPOptions(parsed, of: packet.bytes.span)
        noteHeader(packet, parsed, options)
        let ack = origin.offset(of: parsed.acknowledgment, near: delivered)
        guard ack >= delivered, ack <= taken + 1 else { return [] }
        let isDuplicate =
            ack == delivered && parsed.payload.isEmpty && sentCount > 0
            && edge == ack + Int(parsed.window) << scale
        edge = ack + Int(parsed.window) << scale
        if ack > delivered {
            release(until: ack, now)
            duplicates = 0
        } else if isDuplicate {
            duplicates += 1
        }
        var highest = 0
        for block in options.sackBlocks {
            let range =
                origin.offset(
                    of: block.start, near: ack)..<max(
                    origin.offset(of: block.start, near: ack), origin.offset(of: block.end, near: ack))
            highest = max(highest, range.upperBound)
            for index in 0..<sentCount where range.contains(stored[index].range) { stored[index].isSacked = true }
        }
        return repeats(isPartial: ack > 0 && ack < recoverUntil && duplicates == 0, below: highest, now)
    }

    private func noteHeader(_ packet: WirePacket, _ parsed: TCPPacket, _ options: TCPOptions) {
        var header = TCPHeader(parsed)
        header.sequence = parsed.sequence + parsed.sequenceLength
        if let receiver, header.sequence.distance(from: receiver.header.sequence) < 0 { return }
        receiver = (packet, header, options.timestamps?.value ?? 0)
    }

    private func release(until ack: Int, _ now: Int64) {
        delivered = ack
        backoff = 1
        lastProgress = now
        var count = 0
        while count < sentCount, stored[count].range.upperBound <= ack {
            if !stored[count].isRepeated, let sent = stored[count].sentAt {
                smoothed = (7 * smoothed + (now - sent)) / 8
            }
            storedBytes -= stored[count].range.count
            count += 1
        }
        stored.removeFirst(count)
        sentCount -= count
    }

    /// Holes: below what was selectively acknowledged, or at the left edge after three duplicates.
    private func repeats(isPartial: Bool, below highest: Int, _ now: Int64) -> [WirePacket] {
        var indices: [Int] = []
        if isPartial || duplicates == 3, sentCount > 0 {
            indices.append(0)
            recoverUntil = max(recoverUntil, stored[sentCount - 1].range.upperBound)
        }
        for index in 0..<sentCount {
            let range = stored[index].range
            guard highest - range.upperBound >= 3 * range.count else { break }
            if !stored[index].isSacked, !indices.contains(index) { indices.append(index) }
        }
        return indices.compactMap { index in
            // Not twice within a round trip.
            if stored[index].isRepeated, let sent = stored[index].sentAt, now - sent < smoothed * 3 / 2 { return nil }
            stored[index].isRepeated = true
            return send(index, now)
        }
    }

    /// The packet as the sender shall see it; nil where it would learn nothing from it.
    func shown(_ packet: WirePacket, _ parsed: TCPPacket) -> WirePacket? {
        guard let origin else { return packet }
        var options = TCPOptions(parsed, of: packet.bytes.span)
        let ack = max(taken, origin.offset(of: parsed.acknowledgment, near: delivered))
        options.remove(TCPOptionKind.sack)
        var others = options
        others.remove(TCPOptionKind.timestamps)
        // Of the FIN only the receiver can tell, and it tells again.
        let saysNothing = ack == shownAck && ack == taken && room(ack) == shownWindow
        if parsed.payload.isEmpty, parsed.flags == .ack, others.count == 0, saysNothing {
            return nil
        }
        show(ack)
        var header = TCPHeader(parsed)
        header.acknowledgment = origin.sequence(at: ack)
        header.window = shownWindow
        return packet.rewritten(parsed, header, options: options)
    }
}

// MARK: - Sending

extension ProxyStream {
    /// The next stored segment that fits the receiver's window.
    func nextNew(now: Int64) -> WirePacket? {
        guard sentCount < stored.count, stored[sentCount].range.upperBound <= edge else { return nil }
        if sentCount == 0 { lastProgress = now }
        sentCount += 1
        return send(sentCount - 1, now)
    }

    /// As its sender would send it now: the newest acknowledgement, window and timestamps.
    private func send(_ index: Int, _ now: Int64) -> WirePacket {
        stored[index].sentAt = now
        let packet = stored[index].packet
        guard let parsed = packet.parsed, let sender else { return packet }
        var header = TCPHeader(parsed)
        header.acknowledgment = sender.header.acknowledgment
        header.window = sender.header.window
        var options = TCPOptions(parsed, of: packet.bytes.span)
        if options.timestamps != nil {
            options.remove(TCPOptionKind.timestamps)
            options.appendTimestamps(sender.timestamp, sender.echo)
        }
        return packet.rewritten(parsed, header, options: options)
    }

    private var patience: Int64 { max(200_000_000, 2 * smoothed) * backoff }

    /// How long until something has to be repeated; nil while nothing waits.
    func timeout(now: Int64) -> Int64? {
        guard !stored.isEmpty, backoff <= 1 << 10 else { return nil }
        return max(1_000_000, lastProgress + patience - now)
    }

    /// What has to be sent because nothing was heard: the first unacknowledged, or a probe of a closed window.
    func overdue(now: Int64) -> WirePacket? {
        guard !stored.isEmpty, now >= lastProgress + patience else { return nil }
        backoff *= 2
        lastProgress = now
        if sentCount == 0 { sentCount = 1 }
        recoverUntil = stored[sentCount - 1].range.upperBound
        duplicates = 0
        stored[0].isRepeated = true
        // What was selectively acknowledged may have been thrown away again.
        for index in 0..<sentCount { stored[index].isSacked = false }
        return send(0, now)
    }
}

extension TCPOptions {
    mutating func appendTimestamps(_ value: UInt32, _ echo: UInt32) {
        var option: [UInt8] = [TCPOptionKind.timestamps, 10]
        option.append(bigEndian: value)
        option.append(bigEndian: echo)
        append(option)
    }

    mutating func appendSACK(_ ranges: [Range<Int>], _ origin: SequenceOrigin) {
        var option: [UInt8] = [TCPOptionKind.sack, UInt8(truncatingIfNeeded: 2 + 8 * ranges.count)]
        for range in ranges {
            option.append(bigEndian: origin.sequence(at: range.lowerBound).rawValue)
            option.append(bigEndian: origin.sequence(at: range.upperBound).rawValue)
        }
        append(option)
    }
}
