import FlowEngine
import PacketWire

/// Path MTU discovery, as Linux does it: by what routers say (RFC 1191), or by what gets through (RFC 4821).
extension KernelTCP {
    private var headers: Int { tuple.local.address.isIPv6 ? 60 : 40 }

    /// Whether an error that quotes this sequence number may be about something that is under way.
    func isUnderWay(_ sequence: SequenceNumber) -> Bool {
        let offset = outOrigin.offset(of: sequence, near: una)
        return (una...sndNxt).contains(offset)
    }

    /// The route takes less from now on.
    func reducePath(to mtu: Int, now: Instant) {
        guard mtu < pathMTU else { return }
        pathMTU = mtu
        note(.narrowPath)
        guard state == .established else { return }
        cutLostSegments()
        mustRetransmitOne = true
        transmit(now)
    }

    /// What is too long now is taken for lost, and cut.
    private func cutLostSegments() {
        var cut: [SentSegment] = []
        for segment in scoreboard.segments {
            let limit = max(1, mss - options(mapping: segment.mapping, now: segment.sentAt).paddedCount)
            guard segment.range.count > limit, !segment.isSacked else {
                cut.append(segment)
                continue
            }
            var start = segment.range.lowerBound
            while start < segment.range.upperBound {
                var piece = segment
                piece.range = start..<min(segment.range.upperBound, start + limit)
                piece.isLost = true
                piece.isRetransmitted = false
                cut.append(piece)
                start = piece.range.upperBound
            }
        }
        scoreboard.segments = cut
    }

    /// Several timeouts in a row: perhaps the path swallows what is too long (`net.ipv4.tcp_mtu_probing`).
    func suspectBlackHole() {
        guard configuration.probesPath, backoff >= 3 else { return }
        let reduced = max(headers + 88, min(1024 + headers, pathMTU / 2 + headers))
        guard reduced < pathMTU else { return }
        pathMTU = reduced
        note(.blackHole)
        cutLostSegments()
    }
}
