import FlowEngine
import PacketWire

/// What arriving segments say about sent data.
extension KernelTCP {
    /// Processes acknowledgement, SACK blocks and window; false where the segment must be discarded.
    func processAck(_ packet: TCPPacket, _ options: borrowing TCPOptions, _ now: Instant) -> Bool {
        let ack = outOrigin.offset(of: packet.acknowledgment, near: una)
        guard ack <= sndNxt, ack >= una - (1 << 24) else {
            if ack > sndNxt { violations.append("acknowledges \(ack), sent only \(sndNxt)") }
            sendChallenge(now)
            return false
        }
        let window = Int(packet.window) << peerScale
        let isUpdate = updateWindow(packet, ack: ack, window: window)
        let sacked = processSACK(options, ack: ack, now)
        if ack > una {
            advance(to: ack, now)
        } else if ack == una, !scoreboard.isEmpty, packet.payload.isEmpty, !isUpdate {
            duplicateAcks += 1
        }
        detectLoss(newlySacked: sacked)
        if una >= sndNxt { recoveryPoint = nil }
        return true
    }

    private func updateWindow(_ packet: TCPPacket, ack: Int, window: Int) -> Bool {
        let sequence = inOrigin.offset(of: packet.sequence, near: rcvNxt)
        guard ack > una || sequence > windowUpdateSequence || ack + window > rightEdge else { return false }
        guard ack >= una else { return false }
        windowUpdateSequence = sequence
        let isChanged = rightEdge != ack + window
        rightEdge = ack + window
        if rightEdge > sndNxt {
            persistDeadline = nil
            probesSent = 0
        }
        return isChanged
    }

    /// RFC 2883: the first block is acknowledged, or lies within the second one. When all that was sent again has arrived twice,
    /// the window was reduced for nothing.
    private func noteDSACK(_ options: borrowing TCPOptions, ack: Int) {
        let blocks = options.sackBlocks.prefix(2).map { block in
            (start: outOrigin.offset(of: block.start, near: una), end: outOrigin.offset(of: block.end, near: una))
        }
        guard let first = blocks.first, first.start < first.end else { return }
        let isWithinNext = blocks.count > 1 && blocks[1].start <= first.start && first.end <= blocks[1].end
        guard first.end <= ack || isWithinNext, let known = undo, first.end > known.marker else { return }
        let left = known.retransmissions - (first.end - first.start + mss - 1) / mss
        undo?.retransmissions = max(0, left)
        guard left <= 0, known.retransmissions > 0 else { return }
        note(.undo)
        congestionWindow = max(congestionWindow, known.window)
        slowStartThreshold = max(slowStartThreshold, known.threshold)
        recoveryPoint = nil
        undo = nil
    }

    /// Remembers what the window was before it is reduced.
    func markUndo() { undo = (una, 0, congestionWindow, slowStartThreshold) }

    private func processSACK(_ options: borrowing TCPOptions, ack: Int, _ now: Instant) -> Int {
        guard usesSACK else { return 0 }
        var count = 0
        noteDSACK(options, ack: ack)
        for block in options.sackBlocks {
            let start = outOrigin.offset(of: block.start, near: una)
            let end = outOrigin.offset(of: block.end, near: una)
            guard start < end else {
                violations.append("empty SACK block \(start)..\(end)")
                continue
            }
            // At or below the acknowledgement: a D-SACK.
            guard end > ack else { continue }
            guard end <= sndNxt else {
                violations.append("SACK of \(start)..<\(end), sent only \(sndNxt)")
                continue
            }
            count += scoreboard.sack(start..<end, now)
        }
        return count
    }

    private func advance(to ack: Int, _ now: Instant) {
        if scoreboard.segments.contains(where: { $0.range.lowerBound < ack && ack < $0.range.upperBound }) {
            note(.partialAck)
        }
        let (count, sample) = scoreboard.acknowledge(ack, now)
        una = ack
        backoff = 0
        duplicateAcks = 0
        if let sample { measure(max(1, now.nanoseconds - sample.nanoseconds)) }
        if let point = recoveryPoint, ack < point {
            if congestionWindow < slowStartThreshold { congestionWindow += Double(count) }
            if !usesSACK { scoreboard.markFirstLost() }
            mustRetransmitOne = true
        } else {
            recoveryPoint = nil
            congestionWindow +=
                congestionWindow < slowStartThreshold ? Double(count) : Double(count) / max(1, congestionWindow)
        }
        retransmitDeadline = nil
        closeIfDone(now)
    }

    func measureHandshake(_ now: Instant) {
        if let handshakeSent { measure(max(1, now.nanoseconds - handshakeSent.nanoseconds)) }
        handshakeSent = nil
    }

    private func measure(_ sample: Int64) {
        scoreboard.leastRoundTrip = min(scoreboard.leastRoundTrip, sample)
        if let old = smoothedRoundTrip {
            roundTripVariance += (abs(old - sample) - roundTripVariance) / 4
            smoothedRoundTrip = old + (sample - old) / 8
        } else {
            smoothedRoundTrip = sample
            roundTripVariance = sample / 2
        }
    }

    private func detectLoss(newlySacked: Int) {
        scoreboard.detectLoss(reordering: (smoothedRoundTrip ?? 100_000_000) / 4 + 1_000_000)
        if duplicateAcks >= 3 && !usesSACK && recoveryPoint == nil { scoreboard.markFirstLost() }
        guard scoreboard.hasLost, recoveryPoint == nil else { return }
        recoveryPoint = sndNxt
        markUndo()
        slowStartThreshold = max(2, congestionWindow / 2)
        congestionWindow = slowStartThreshold
        mustRetransmitOne = true
    }

    /// Answers a segment that cannot be right; seldom, so that two ends cannot feed each other.
    func sendChallenge(_ now: Instant) {
        if let lastChallenge, now.milliseconds(since: lastChallenge) < 500 { return }
        lastChallenge = now
        sendAck(now)
    }
}
