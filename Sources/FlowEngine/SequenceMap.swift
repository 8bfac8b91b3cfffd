import DequeModule

/// One stretch of the wire stream (W) and the stretch of the kernel's stream (K) it stands for.
///
/// `lead` W bytes precede the first K byte, the rest of the surplus follows the last one:
///
///     W   |control clen flags| data ......... | tag |
///     K                      | data ......... |
///
/// The first K byte owns the lead and the last one the tail, so every K range names one W range. Key exchange
/// messages and empty frames own W but no K; a row of them is one span.
struct StreamSpan: Sendable, Hashable {
    var k: Range<Int>
    var w: Range<Int>
    var lead: Int

    var firstDataW: Int { w.lowerBound + lead }
}

/// The translation between the two sequence spaces of one direction.
///
/// Offsets count from the byte after the SYN. Spans lie end to end in both spaces; those that both ends have
/// done with are forgotten, except a few that late acknowledgements and duplicates may still name.
struct SequenceMap: Sendable {
    private var spans: Deque<StreamSpan> = []
    private var base = (k: 0, w: 0)
    private(set) var kEnd = 0
    private(set) var wEnd = 0

    private static let remembered = 32
    /// The most spans since room was given back, and for how many an idle connection keeps some.
    private var peak = 0
    private static let idlePeak = 256

    var count: Int { spans.count }

    /// - Returns: the place of what was appended in W.
    @discardableResult
    mutating func append(kCount: Int, wCount: Int, lead: Int) -> Range<Int> {
        let w = wEnd..<wEnd + wCount
        if kCount == 0, let last = spans.last, last.k.isEmpty {
            // Neither owns any K: every question has the same answer for both.
            spans[spans.count - 1].w = last.w.lowerBound..<w.upperBound
            wEnd = w.upperBound
            return w
        }
        spans.append(StreamSpan(k: kEnd..<kEnd + kCount, w: w, lead: lead))
        peak = max(peak, spans.count)
        kEnd += kCount
        wEnd = w.upperBound
        return w
    }

    /// Forgets spans that end at or below both limits.
    mutating func discard(k: Int, w: Int) {
        while spans.count > Self.remembered, let first = spans.first, first.k.upperBound <= k, first.w.upperBound <= w {
            spans.removeFirst()
            base = (first.k.upperBound, first.w.upperBound)
        }
        if peak > Self.idlePeak, spans.count <= Self.remembered {
            spans = Deque(Array(spans))
            peak = 0
        }
    }

    // MARK: K to W

    /// Where the share of the K byte at `k` begins.
    func w(startingAt k: Int) -> Int {
        guard k >= base.k else { return base.w - (base.k - k) }
        guard let span = span(withKAbove: k) else { return wEnd }
        return k == span.k.lowerBound ? span.w.lowerBound : span.firstDataW + (k - span.k.lowerBound)
    }

    /// Where the share of the K byte before `k` ends.
    func w(endingAt k: Int) -> Int {
        guard k > base.k else { return base.w - (base.k - k) }
        guard let span = span(withKAbove: k - 1) else { return wEnd }
        return k == span.k.upperBound ? span.w.upperBound : span.firstDataW + (k - span.k.lowerBound)
    }

    /// What an acknowledgement of everything below `k` acknowledges, engine-owned spans that follow included.
    func w(acknowledging k: Int) -> Int {
        guard k >= base.k else { return base.w - (base.k - k) }
        guard let span = span(withKAbove: k) else { return wEnd }
        return k == span.k.lowerBound ? span.w.lowerBound : span.firstDataW + (k - span.k.lowerBound)
    }

    // MARK: W to K

    /// How much of K is acknowledged when everything below `w` is: rounded down.
    func k(acknowledgedBy w: Int) -> Int {
        guard w >= base.w else { return forgotten(w) }
        guard let span = span(withWAbove: w) else { return kEnd }
        return span.k.lowerBound + min(max(0, w - span.firstDataW), max(0, span.k.count - 1))
    }

    /// The first K byte whose share begins at or above `w`: rounded up.
    func k(startingAtOrAbove w: Int) -> Int {
        guard w >= base.w else { return forgotten(w) }
        guard let span = span(withWAbove: w) else { return kEnd }
        if w <= span.w.lowerBound { return span.k.lowerBound }
        return min(span.k.upperBound, span.k.lowerBound + max(1, w - span.firstDataW))
    }

    /// How many K bytes themselves (not their lead or tail) stand below `w`.
    func k(standingBelow w: Int) -> Int {
        guard w >= base.w else { return forgotten(w) }
        guard let span = span(withWAbove: w) else { return kEnd }
        return span.k.lowerBound + min(max(0, w - span.firstDataW), span.k.count)
    }

    /// The K of what has been forgotten, or a little less; what follows the SYN is never before it. A Linux listener answers an
    /// acknowledgement of anything else with a reset, where a packet came before the connection was established and was held:
    /// it belongs to the request that was there when it came (early demux).
    private func forgotten(_ w: Int) -> Int { w < 0 ? w : max(0, base.k - (base.w - w)) }

    /// - Parameter k: not below the base, so that a span is found wherever `k` lies before the end.
    private func span(withKAbove k: Int) -> StreamSpan? {
        guard k < kEnd else { return nil }
        return spans[spans.firstIndexSorted { $0.k.upperBound > k }]
    }

    private func span(withWAbove w: Int) -> StreamSpan? {
        guard w < wEnd else { return nil }
        return spans[spans.firstIndexSorted { $0.w.upperBound > w }]
    }
}

extension Deque {
    /// The first index for which `predicate` holds, in a deque where it holds for all after it.
    func firstIndexSorted(where predicate: (Element) -> Bool) -> Int {
        var low = 0
        var high = count
        while low < high {
            let middle = (low + high) / 2
            if predicate(self[middle]) { high = middle } else { low = middle + 1 }
        }
        return low
    }
}
