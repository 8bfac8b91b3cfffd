import FlowEngine

/// One segment in flight, in offsets of the stream; a FIN is the offset behind the last byte.
struct SentSegment {
    var range: Range<Int>
    /// The MPTCP mapping it was first sent under.
    var mapping: Range<Int>
    var sentAt: Instant
    var isSacked = false
    var isLost = false
    /// Sent again and not yet thought lost again.
    var isRetransmitted = false
    var wasRetransmitted = false

    var isInFlight: Bool { !isSacked && (!isLost || isRetransmitted) }
    var needsRetransmission: Bool { isLost && !isSacked && !isRetransmitted }
}

/// What was sent and not acknowledged, and what is thought of it (RFC 6675, RFC 8985).
struct Scoreboard {
    var segments: [SentSegment] = []
    /// When the latest-sent segment that is known to have arrived was sent.
    private var newestDelivered = Instant(nanoseconds: .min)
    var leastRoundTrip = Int64.max

    var inFlight: Int { segments.count(where: \.isInFlight) }
    var isEmpty: Bool { segments.isEmpty }
    var hasLost: Bool { segments.contains(where: \.needsRetransmission) }

    /// Removes what lies below `offset`; returns how many segments and, where one is fit for it, when it was sent.
    mutating func acknowledge(_ offset: Int, _ now: Instant) -> (count: Int, sample: Instant?) {
        var count = 0
        var sample: Instant?
        var isAmbiguous = false
        while let first = segments.first, first.range.upperBound <= offset {
            if !first.wasRetransmitted && !first.isSacked { sample = first.sentAt }
            isAmbiguous = isAmbiguous || first.wasRetransmitted
            noteDelivered(first, now)
            segments.removeFirst()
            count += 1
        }
        if let first = segments.first, first.range.lowerBound < offset {
            segments[0].range = offset..<first.range.upperBound
        }
        // What filled a hole says nothing about what came before it (RFC 6298 section 3).
        return (count, isAmbiguous ? nil : sample)
    }

    /// Notes a SACK block; only whole segments count. Returns how many are new.
    mutating func sack(_ block: Range<Int>, _ now: Instant) -> Int {
        var count = 0
        for index in segments.indices where !segments[index].isSacked {
            let range = segments[index].range
            guard range.lowerBound >= block.lowerBound, range.upperBound <= block.upperBound else { continue }
            segments[index].isSacked = true
            noteDelivered(segments[index], now)
            count += 1
        }
        return count
    }

    /// What was sent again counts where the answer cannot be to the original (RFC 8985 section 6.2).
    private mutating func noteDelivered(_ segment: SentSegment, _ now: Instant) {
        if segment.wasRetransmitted, now.nanoseconds - segment.sentAt.nanoseconds < leastRoundTrip { return }
        newestDelivered = max(newestDelivered, segment.sentAt)
    }

    /// Marks as lost what has three SACKed segments above it, or was sent well before something that arrived.
    mutating func detectLoss(reordering: Int64) {
        var above = 0
        for index in segments.indices.reversed() {
            if segments[index].isSacked {
                above += 1
                continue
            }
            let isLate = segments[index].sentAt.nanoseconds &+ reordering < newestDelivered.nanoseconds
            if segments[index].isInFlight && isLate && (above > 0 || segments[index].isLost) {
                segments[index].isLost = true
                segments[index].isRetransmitted = false
            } else if above >= 3 {
                segments[index].isLost = true
            }
        }
    }

    mutating func markLost(longerThan count: Int) {
        for index in segments.indices where segments[index].range.count > count && !segments[index].isSacked {
            segments[index].isLost = true
            segments[index].isRetransmitted = false
        }
    }

    mutating func markFirstLost() {
        guard !segments.isEmpty, !segments[0].isLost else { return }
        segments[0].isLost = true
    }

    /// A timeout: everything not SACKed is lost; a head that was SACKed means that the receiver reneged.
    mutating func markAllLost() {
        let isReneged = segments.first?.isSacked ?? false
        for index in segments.indices {
            if isReneged { segments[index].isSacked = false }
            segments[index].isLost = !segments[index].isSacked
            segments[index].isRetransmitted = false
        }
    }
}
