import FlowEngine
import PacketWire

/// New data and retransmissions.
extension KernelTCP {
    private static let largestPayload = 62_000

    /// The end of what there is to send, the FIN included.
    private var sendEnd: Int { writeEnd + (isShutDown ? 1 : 0) }

    /// Sends what congestion window and peer's window permit.
    func transmit(_ now: Instant) {
        guard state == .established, failure == nil, !(subflow?.mustWait ?? false) else { return }
        sendRetransmissions(now)
        while sendNew(now) {}
        if owesAck && delayedAckDeadline == nil { sendAck(now) }
        armTransmissionTimers(now)
    }

    /// Sends one new packet; false where nothing may be sent.
    private func sendNew(_ now: Instant) -> Bool {
        let quota = Int(congestionWindow) - scoreboard.inFlight
        let pending = sendEnd - sndNxt
        guard quota > 0, pending > 0 else { return false }
        // The mapping decides on the length of the options, so it is guessed first.
        let data = writeEnd - sndNxt
        let segment = mss - options(mapping: data > 0 ? sndNxt..<sndNxt + 1 : nil, now: now).paddedCount
        let room = rightEdge - sndNxt
        let limit = configuration.usesGSO ? min(Self.largestPayload, quota * segment) : segment
        var length = min(data, room, limit)
        if length < segment, length < data {
            // The window is the limit: silly, unless nothing else can happen.
            guard length > 0, scoreboard.isEmpty, room * 2 > configuration.receiveBuffer / 8 else { return false }
        }
        if length > segment, length < data { length -= length % segment }
        if configuration.usesNagle, length < segment, !scoreboard.isEmpty, !isShutDown { return false }
        let withFIN = isShutDown && length == data && room > length
        guard length > 0 || (withFIN && data == 0) else { return false }
        sendFirst(sndNxt..<sndNxt + length + (withFIN ? 1 : 0), segment: segment, now)
        return true
    }

    private func sendFirst(_ range: Range<Int>, segment: Int, _ now: Instant) {
        let dataEnd = min(range.upperBound, writeEnd)
        let mapping = range.lowerBound..<max(range.lowerBound, dataEnd)
        if range.upperBound > writeEnd, !hasReceivedFIN { finSentFirst = true }
        var start = range.lowerBound
        repeat {
            var end = min(range.upperBound, start + segment)
            if end < range.upperBound, end == writeEnd { end = range.upperBound }
            scoreboard.segments.append(SentSegment(range: start..<end, mapping: mapping, sentAt: now))
            start = end
        } while start < range.upperBound
        sndNxt = range.upperBound
        // A dialogue: what answers carries the acknowledgement.
        if let lastDataArrival, now.milliseconds(since: lastDataArrival) < 40 { quickAcks = 0 }
        emitRange(range, mapping: mapping, now)
    }

    /// Writes the packet for a stretch of the stream.
    private func emitRange(_ range: Range<Int>, mapping: Range<Int>, _ now: Instant) {
        let data = range.lowerBound..<max(range.lowerBound, min(range.upperBound, writeEnd))
        let options = options(mapping: data.isEmpty ? nil : mapping, now: now)
        let segment = mss - options.paddedCount
        var flags: TCPFlags = [.ack]
        // The end of a write may be anywhere, but not where a segment is cut out of its middle to be sent again.
        if data.upperBound == writeEnd || (range.upperBound == sndNxt && random.chance(0.1)) { flags.insert(.psh) }
        if range.upperBound > writeEnd { flags.insert(.fin) }
        send(
            at: range.lowerBound, flags: flags, options: options, stream.bytes(data), now,
            segmentSize: data.count > segment ? segment : nil)
    }

    // MARK: Retransmissions

    private func sendRetransmissions(_ now: Instant) {
        while scoreboard.hasLost, mustRetransmitOne || scoreboard.inFlight < Int(congestionWindow) {
            guard let index = scoreboard.segments.firstIndex(where: \.needsRetransmission) else { return }
            let start = scoreboard.segments[index].range.lowerBound
            guard start < rightEdge || start == una else { return }
            mustRetransmitOne = false
            retransmit(at: index, now)
        }
    }

    /// Sends the segment at `index` again, perhaps with other boundaries: cut, or with its neighbours.
    func retransmit(at index: Int, _ now: Instant) {
        note(.retransmission)
        let count = scoreboard.segments.count
        if random.chance(configuration.reboundaryRate) { cut(at: index) }
        var last = index
        if random.chance(configuration.reboundaryRate) { last = mergeable(from: index) }
        if last > index || count != scoreboard.segments.count { note(.otherBoundaries) }
        let segments = scoreboard.segments
        undo?.retransmissions += last - index + 1
        for position in index...last {
            scoreboard.segments[position].isRetransmitted = segments[position].isLost
            scoreboard.segments[position].wasRetransmitted = true
            scoreboard.segments[position].sentAt = now
        }
        emitRange(
            segments[index].range.lowerBound..<segments[last].range.upperBound, mapping: segments[index].mapping, now)
    }

    private func cut(at index: Int) {
        var segment = scoreboard.segments[index]
        let data = segment.range.lowerBound..<min(writeEnd, segment.range.upperBound)
        guard data.count > 1 else { return }
        let middle = random.int(data.lowerBound + 1...data.upperBound - 1)
        var rest = segment
        segment.range = segment.range.lowerBound..<middle
        rest.range = middle..<rest.range.upperBound
        scoreboard.segments[index] = segment
        scoreboard.segments.insert(rest, at: index + 1)
    }

    /// The last segment that may ride with the one at `index`: as a super-packet or within one segment.
    private func mergeable(from index: Int) -> Int {
        let first = scoreboard.segments[index]
        let single = mss - options(mapping: first.mapping, now: first.sentAt).paddedCount
        let limit = configuration.usesGSO ? single * random.int(1...4) : single
        var last = index
        while last + 1 < scoreboard.segments.count {
            let next = scoreboard.segments[last + 1]
            guard !next.isSacked, next.mapping == first.mapping || subflow == nil,
                next.range.upperBound - first.range.lowerBound <= limit,
                next.range.upperBound <= max(rightEdge, first.range.upperBound)
            else { break }
            last += 1
        }
        return last
    }

    // MARK: Probes

    /// A packet that makes the peer acknowledge: one byte below what it expects, without data.
    func sendProbe(_ now: Instant) { emit(at: una - 1, flags: [.ack], now: now) }

    /// Sends whatever little the window takes, or a probe.
    func probeWindow(_ now: Instant) {
        note(.windowProbe)
        let length = min(writeEnd - sndNxt, rightEdge - sndNxt, mss - 40)
        if length > 0, length + sndNxt < writeEnd || !isShutDown {
            sendFirst(sndNxt..<sndNxt + length, segment: length, now)
        } else {
            sendProbe(now)
        }
    }
}
