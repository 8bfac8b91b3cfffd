public import FlowEngine
import PacketWire

/// Time: every deadline is polled by the owner.
extension KernelTCP {
    public var nextDeadline: Instant? {
        [retransmitDeadline, delayedAckDeadline, persistDeadline, keepAliveDeadline, timeWaitDeadline]
            .compactMap(\.self).min()
    }

    public func handleDeadlines(now: Instant) {
        if isDue(\.timeWaitDeadline, now) { state = .closed }
        if isDue(\.delayedAckDeadline, now) { sendAck(now) }
        if isDue(\.retransmitDeadline, now) { retransmissionTimeout(now) }
        if isDue(\.persistDeadline, now) { persistTimeout(now) }
        if isDue(\.keepAliveDeadline, now) {
            if scoreboard.isEmpty {
                note(.keepAlive)
                emit(at: sndNxt - 1, flags: [.ack], now: now)
            }
            armKeepAlive(now)
        }
    }

    private func isDue(_ path: ReferenceWritableKeyPath<KernelTCP, Instant?>, _ now: Instant) -> Bool {
        guard let deadline = self[keyPath: path], deadline <= now, state != .closed else { return false }
        self[keyPath: path] = nil
        return true
    }

    var retransmissionTimeoutMilliseconds: Int64 {
        let base = (smoothedRoundTrip ?? 1_000_000_000) + max(4 * roundTripVariance, 1_000_000)
        return min(120_000, max(200, base / 1_000_000 + 1) << Int64(min(backoff, 10)))
    }

    func armTransmissionTimers(_ now: Instant) {
        if scoreboard.isEmpty {
            retransmitDeadline = nil
            let isPending = sndNxt < writeEnd + (isShutDown ? 1 : 0)
            if isPending, persistDeadline == nil {
                let wait = min(120_000, retransmissionTimeoutMilliseconds << Int64(min(probesSent, 8)))
                persistDeadline = now.adding(milliseconds: wait)
            }
            return
        }
        persistDeadline = nil
        guard retransmitDeadline == nil else { return }
        retransmitDeadline = now.adding(milliseconds: retransmissionTimeoutMilliseconds)
        isTailProbe = false
        if usesSACK, backoff == 0, recoveryPoint == nil, let smoothedRoundTrip {
            let wait = 2 * smoothedRoundTrip / 1_000_000 + (scoreboard.inFlight == 1 ? 200 : 2)
            if wait < retransmissionTimeoutMilliseconds {
                retransmitDeadline = now.adding(milliseconds: max(1, wait))
                isTailProbe = true
            }
        }
    }

    private func retransmissionTimeout(_ now: Instant) {
        if state == .synSent || state == .synReceived { return repeatHandshake(now) }
        if subflow?.mustWait ?? false {
            // The third ACK of a join is repeated until the fourth arrives (RFC 8684 section 3.2).
            backoff += 1
            guard backoff < 8 else { return die(.timeout) }
            sendAck(now)
            retransmitDeadline = now.adding(milliseconds: 200 << Int64(backoff))
            return
        }
        guard !scoreboard.isEmpty else { return }
        if isTailProbe {
            isTailProbe = false
            note(.tailProbe)
            retransmit(at: scoreboard.segments.count - 1, now)
            retransmitDeadline = now.adding(milliseconds: retransmissionTimeoutMilliseconds)
            return
        }
        if backoff == 0 { markUndo() }
        backoff += 1
        guard backoff < 16 else { return die(.timeout) }
        slowStartThreshold = max(2, congestionWindow / 2)
        congestionWindow = 1
        recoveryPoint = sndNxt
        note(scoreboard.segments.first?.isSacked ?? false ? .reneging : .timeout)
        suspectBlackHole()
        scoreboard.markAllLost()
        mustRetransmitOne = true
        transmit(now)
    }

    private func persistTimeout(_ now: Instant) {
        guard scoreboard.isEmpty, sndNxt < writeEnd + (isShutDown ? 1 : 0) else { return }
        probesSent += 1
        probeWindow(now)
        armTransmissionTimers(now)
    }

    func armKeepAlive(_ now: Instant) {
        guard let interval = configuration.keepAliveMilliseconds, state == .established else { return }
        keepAliveDeadline = now.adding(milliseconds: interval)
    }
}
