import DequeModule
import PacketWire

/// A packet from the wire whose verdict waits for a frame to be complete, or for a hole to close.
struct HeldPacket: Sendable {
    /// Nil once the verdict was given although the bytes are still needed: the kernel gets a packet of our own then.
    var id: PacketID?
    var bytes: [UInt8]
    var packet: TCPPacket
    /// W offsets of its data.
    var w: Range<Int>
    var isFIN: Bool { packet.flags.contains(.fin) }
    /// What it takes of a ``HeldBudget``: its bytes for as long as they are kept.
    var load: HeldLoad { HeldLoad(packets: id == nil ? 0 : 1, bytes: bytes.count) }

    /// Whether one that `other` encloses says something that it does not.
    fileprivate func says(moreThan other: HeldPacket) -> Bool {
        w.upperBound == other.w.upperBound && (w.isEmpty || (isFIN && !other.isFIN))
    }
}

/// Packets from the wire in the order of the stream, and which stretches of it they cover.
///
/// No packet lies within another, so both their beginnings and their ends ascend, and every place is found by halving: a
/// sender may make packets as small and holes as many as it likes.
struct HeldPackets: Sendable {
    private(set) var packets: Deque<HeldPacket> = []
    /// What the packets cover, in W: neither touching nor overlapping.
    private(set) var ranges: Deque<Range<Int>> = []
    /// Places (W) in the stretches that packets were added to most recently, the latest first.
    private var recent: [Int] = []
    /// How often a packet came to another stretch than the one before.
    private(set) var blockChanges = 0
    /// What they take of a ``HeldBudget``.
    private(set) var load = HeldLoad()
    /// The most packets since there were none.
    private var peak = 0
    /// Room for more than so many is given back when there are none.
    private static let idlePeak = 32

    /// Packets looked at, for tests of what an arrival costs.
    private(set) var visits = 0

    /// Holes a stream may have. A sender that keeps to what RFC 6675 allows fills them from the left, so that what is
    /// refused here is what it needs last.
    static let mostRanges = 1024
    /// As many as fit an acknowledgement.
    private static let mostRecent = 4

    var isEmpty: Bool { packets.isEmpty }
    var hasHole: Bool { ranges.count > 1 }
    /// `w`, up to which everything is here, if something lies beyond it.
    func hole(from w: Int) -> Int? { ranges.last.flatMap { $0.upperBound > w ? w : nil } }
    var count: Int { packets.count }

    // MARK: What is here

    /// Where the stretch that covers `w` ends, once what lies below is uncovered; `w` if none does.
    func end(covering w: Int) -> Int {
        guard let first = ranges.first, first.lowerBound <= w else { return w }
        return max(w, first.upperBound)
    }

    private func index(endingAbove w: Int) -> Int? {
        let index = ranges.firstIndexSorted { $0.upperBound > w }
        return index < ranges.count ? index : nil
    }

    func covers(_ range: Range<Int>) -> Bool {
        if range.isEmpty { return true }
        let index = ranges.firstIndexSorted { $0.upperBound >= range.upperBound }
        return index < ranges.count && ranges[index].lowerBound <= range.lowerBound
    }

    /// The first stretch of `range` that is here already.
    func firstOverlap(with range: Range<Int>) -> Range<Int>? {
        let index = ranges.firstIndexSorted { $0.upperBound > range.lowerBound }
        guard index < ranges.count, ranges[index].overlaps(range) else { return nil }
        return ranges[index].clamped(to: range)
    }

    /// Whether `range` would add one more hole to a stream that has too many.
    func isTooScattered(_ range: Range<Int>) -> Bool {
        guard ranges.count >= Self.mostRanges, !range.isEmpty else { return false }
        let next = ranges.firstIndexSorted { $0.upperBound >= range.lowerBound }
        return next == ranges.count || ranges[next].lowerBound > range.upperBound
    }

    func containsFIN(at w: Int) -> Bool {
        var index = packets.firstIndexSorted { $0.w.upperBound >= w }
        while index < packets.count, packets[index].w.upperBound == w {
            if packets[index].isFIN { return true }
            index += 1
        }
        return false
    }

    /// Where the first packet begins that reaches beyond `w`; `w` if none begins before it.
    func start(covering w: Int) -> Int {
        let index = packets.firstIndexSorted { $0.w.upperBound > w }
        return index < packets.count ? min(w, packets[index].w.lowerBound) : w
    }

    /// Whether what ends at `w` seems to be the last that the sender has. (Its size tells nothing: after path MTU probing a small
    /// segment is a full one.)
    func looksLast(endingAt w: Int) -> Bool {
        let index = packets.firstIndexSorted { $0.w.upperBound >= w }
        guard index < packets.count, packets[index].w.upperBound == w else { return false }
        return packets[index].packet.flags.contains(.psh)
    }

    // MARK: In and out

    /// Takes a packet in.
    ///
    /// - Returns: packets that say less than this one, or this one where it says less than another.
    mutating func insert(_ packet: HeldPacket) -> [HeldPacket] {
        let w = packet.w
        visits += 1
        peak = max(peak, packets.count + 1)
        if packets.last.map({ $0.w.lowerBound < w.lowerBound && $0.w.upperBound <= w.upperBound }) ?? true {
            // Most come in order.
            packets.append(packet)
            load = load + packet.load
            cover(w)
            return []
        }
        let start = packets.firstIndexSorted { $0.w.lowerBound >= w.lowerBound }
        let stop = packets.firstIndexSorted { $0.w.upperBound > w.upperBound }
        guard start <= stop else { return [packet] }
        // From `start` to `stop` all lie within this one. What has no data, or an end that this one has not, stays.
        var (first, last) = (start, stop)
        while first < last, packets[first].w.upperBound == w.lowerBound { first += 1 }
        while last > first, packets[last - 1].says(moreThan: packet) { last -= 1 }
        let dropped = Array(packets[first..<last])
        load = dropped.reduce(load + packet.load) { $0 - $1.load }
        visits += stop - start
        packets.replaceSubrange(first..<last, with: CollectionOfOne(packet))
        cover(w)
        return dropped
    }

    /// Merges `range` into ``ranges``.
    private mutating func cover(_ range: Range<Int>) {
        guard !range.isEmpty else { return }
        defer { noteRecent(range) }
        if let last = ranges.last, last.upperBound < range.lowerBound { return ranges.append(range) }
        let start = ranges.firstIndexSorted { $0.upperBound >= range.lowerBound }
        var merged = range
        var stop = start
        while stop < ranges.count, ranges[stop].lowerBound <= range.upperBound {
            merged = min(merged.lowerBound, ranges[stop].lowerBound)..<max(merged.upperBound, ranges[stop].upperBound)
            stop += 1
        }
        if stop == start + 1 {
            ranges[start] = merged
        } else {
            ranges.replaceSubrange(start..<stop, with: CollectionOfOne(merged))
        }
    }

    /// - Precondition: a stretch covers `range`.
    private mutating func noteRecent(_ range: Range<Int>) {
        let stretch = ranges[ranges.firstIndexSorted { $0.upperBound >= range.upperBound }]
        if let first = recent.first, stretch.contains(first) { return }
        blockChanges += 1
        recent.removeAll(where: stretch.contains)
        recent.insert(range.lowerBound, at: 0)
        if recent.count > Self.mostRecent { recent.removeLast() }
    }

    /// Takes out the first packet if all of it lies below `w`.
    mutating func popFirst(endingBy w: Int) -> HeldPacket? {
        guard let first = packets.first, first.w.upperBound <= w else { return nil }
        packets.removeFirst()
        load = load - first.load
        if packets.isEmpty { rest() }
        return first
    }

    /// Nothing is here any more.
    private mutating func rest() {
        let keepsRoom = peak <= Self.idlePeak
        packets.removeAll(keepingCapacity: keepsRoom)
        ranges.removeAll(keepingCapacity: keepsRoom)
        recent.removeAll(keepingCapacity: keepsRoom)
        load = HeldLoad()
        peak = 0
    }

    /// Forgets the stretches that end at or below `w`.
    mutating func uncover(below w: Int) {
        while let first = ranges.first, first.upperBound <= w { ranges.removeFirst() }
    }

    /// Takes out the last packet if it begins above `w`.
    mutating func popLast(beginningAbove w: Int) -> HeldPacket? {
        guard let last = packets.last, last.w.lowerBound > w else { return nil }
        _ = remove(packets.count - 1..<packets.count)
        return last
    }

    /// Takes out every packet that touches `range`, and forgets that its bytes arrived.
    mutating func remove(touching range: Range<Int>) -> [HeldPacket] {
        var start = packets.firstIndexSorted { $0.w.upperBound > range.lowerBound }
        // Packets without data are touched where they stand.
        while start > 0, packets[start - 1].w.lowerBound >= range.lowerBound { start -= 1 }
        let stop = packets.firstIndexSorted { $0.w.lowerBound >= range.upperBound }
        return start < stop ? remove(start..<stop) : []
    }

    /// Takes out every packet that reaches beyond `w`.
    mutating func remove(endingAbove w: Int) -> [HeldPacket] {
        let start = packets.firstIndexSorted { $0.w.upperBound > w }
        return start < packets.count ? remove(start..<packets.count) : []
    }

    private mutating func remove(_ indices: Range<Int>) -> [HeldPacket] {
        let removed = Array(packets[indices])
        visits += removed.count
        load = removed.reduce(load) { $0 - $1.load }
        packets.removeSubrange(indices)
        if packets.isEmpty { rest() }
        guard let first = removed.first?.w.lowerBound, let last = removed.last?.w.upperBound else { return removed }
        // Neighbours may reach into what goes.
        let low = indices.lowerBound > 0 ? max(first, packets[indices.lowerBound - 1].w.upperBound) : first
        let next = indices.lowerBound < packets.count ? packets[indices.lowerBound].w.lowerBound : last
        let high = min(last, next)
        if low < high { uncover(low..<high) }
        return removed
    }

    private mutating func uncover(_ range: Range<Int>) {
        let start = ranges.firstIndexSorted { $0.upperBound > range.lowerBound }
        let stop = ranges.firstIndexSorted { $0.lowerBound >= range.upperBound }
        guard start < stop else { return }
        var rest: [Range<Int>] = []
        let (left, right) = (ranges[start].lowerBound, ranges[stop - 1].upperBound)
        if left < range.lowerBound { rest.append(left..<range.lowerBound) }
        if right > range.upperBound { rest.append(range.upperBound..<right) }
        ranges.replaceSubrange(start..<stop, with: rest)
    }

    /// Gives every verdict away; the bytes stay.
    mutating func takeVerdicts() -> [PacketID] {
        var taken: [PacketID] = []
        for index in packets.indices {
            if let id = packets[index].id { taken.append(id) }
            packets[index].id = nil
        }
        load.packets = 0
        return taken
    }

    mutating func removeAll() -> [HeldPacket] {
        defer { rest() }
        return Array(packets)
    }

    // MARK: Bytes

    /// Copies W bytes; false where not all of them are here.
    mutating func gather(_ range: Range<Int>, into scratch: inout [UInt8]) -> Bool {
        var position = range.lowerBound
        var index = packets.firstIndexSorted { $0.w.upperBound > position }
        while position < range.upperBound, index < packets.count {
            visits += 1
            let packet = packets[index]
            guard packet.w.lowerBound <= position else { return false }
            let end = min(packet.w.upperBound, range.upperBound)
            if end > position {
                let from = packet.packet.payload.lowerBound + (position - packet.w.lowerBound)
                var target = scratch.mutableSpan
                target.copy(
                    packet.bytes.span.extracting(from..<from + (end - position)), at: position - range.lowerBound)
                position = end
            }
            index += 1
        }
        return position >= range.upperBound
    }

    // MARK: SACK

    /// SACK blocks (W): the block of `latest` first, then those that changed most recently, for acknowledgements get lost
    /// (RFC 2018 section 4), then from the left.
    ///
    /// The first held piece of an incomplete frame is left out: it cannot be acknowledged before the frame
    /// authenticates, and a block that starts at the acknowledgement would say nothing.
    func sackBlocks(above acknowledged: Int, latest: Int?, limit: Int) -> [Range<Int>] {
        var blocks: [Range<Int>] = []
        var told: [Int] = []
        func tell(_ candidate: Int) {
            guard blocks.count < limit, !told.contains(candidate) else { return }
            told.append(candidate)
            if let next = block(candidate, acknowledged) { blocks.append(next) }
        }
        for w in CollectionOfOne(latest).compactMap(\.self) + recent {
            if let index = index(endingAbove: w), ranges[index].contains(w) { tell(index) }
        }
        for candidate in ranges.indices.prefix(limit + told.count) { tell(candidate) }
        return blocks
    }

    private func block(_ index: Int, _ acknowledged: Int) -> Range<Int>? {
        let range = ranges[index]
        // A FIN counts like a byte: without it the sender would not take its last segment for arrived.
        let end = range.upperBound + (index == ranges.count - 1 && containsFIN(at: range.upperBound) ? 1 : 0)
        guard index == 0, range.lowerBound <= acknowledged, let piece = packets.first else {
            return range.lowerBound..<end
        }
        let start = max(piece.w.upperBound, acknowledged + 1)
        return start < end ? start..<end : nil
    }
}
