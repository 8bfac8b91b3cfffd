import PacketWire

/// The retained part of a byte stream, addressed by absolute stream offsets.
///
/// Grows to the largest amount ever retained at once; ``giveBack(all:)`` when nothing has come for a while.
struct ByteRing: Sendable {
    private var storage: [UInt8] = []
    /// Offset of the oldest retained byte.
    private(set) var start = 0
    /// Offset behind the newest byte.
    private(set) var end = 0

    /// More than this is not kept by an idle connection.
    private static let idleCapacity = 4096

    var count: Int { end - start }

    mutating func append(_ bytes: Span<UInt8>) {
        reserve(count + bytes.count)
        var done = 0
        while done < bytes.count {
            let position = end & (storage.count - 1)
            let length = min(bytes.count - done, storage.count - position)
            var target = storage.mutableSpan
            target.copy(bytes.extracting(done..<done + length), at: position)
            done += length
            end += length
        }
    }

    /// Appends what `fill` writes at the beginning of `room` bytes; it says how much that is, nil for nothing.
    ///
    /// - Parameter spare: room for as much, for the place where the ring begins anew.
    mutating func append(room: Int, spare: inout [UInt8], _ fill: (inout MutableSpan<UInt8>) -> Int?) {
        reserve(count + room)
        let position = end & (storage.count - 1)
        guard position + room <= storage.count else {
            var span = spare.mutableSpan
            var target = span._mutatingExtracting(0..<room)
            if let count = fill(&target) { append(spare.span.extracting(0..<count)) }
            return
        }
        var span = storage.mutableSpan
        var target = span._mutatingExtracting(position..<position + room)
        if let count = fill(&target) { end += count }
    }

    mutating func discard(before offset: Int) { start = min(max(start, offset), end) }

    /// Whether ``giveBack(all:)`` would give back much.
    var isLarge: Bool { storage.count > Self.idleCapacity }

    /// Gives the memory back where nothing is retained: all of it, or what an idle connection should not keep.
    mutating func giveBack(all: Bool) {
        if start == end, all || isLarge { storage = [] }
    }

    /// Bytes of memory, used or not.
    var capacity: Int { storage.count }

    /// Copies retained bytes; the caller keeps `range` within ``start`` and ``end``.
    func copy(_ range: Range<Int>, into target: inout MutableSpan<UInt8>, at index: Int) {
        var done = 0
        while done < range.count {
            let position = (range.lowerBound + done) & (storage.count - 1)
            let length = min(range.count - done, storage.count - position)
            target.copy(storage.span.extracting(position..<position + length), at: index + done)
            done += length
        }
    }

    private mutating func reserve(_ needed: Int) {
        guard needed > storage.count else { return }
        var capacity = max(1024, storage.count)
        while capacity < needed { capacity *= 2 }
        var grown = [UInt8](repeating: 0, count: capacity)
        let retained = start..<end
        var done = 0
        while done < retained.count {
            let from = (start + done) & (storage.count - 1)
            let to = (start + done) & (capacity - 1)
            let length = min(retained.count - done, storage.count - from, capacity - to)
            var target = grown.mutableSpan
            target.copy(storage.span.extracting(from..<from + length), at: to)
            done += length
        }
        storage = grown
    }
}
