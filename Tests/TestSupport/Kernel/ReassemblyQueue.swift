/// Data beyond a hole, and the SACK blocks that tell of it.
struct ReassemblyQueue {
    private var pieces: [(start: Int, bytes: [UInt8])] = []
    /// The latest first (RFC 2018 section 4).
    private(set) var blocks: [Range<Int>] = []

    var isEmpty: Bool { pieces.isEmpty }
    var byteCount: Int { pieces.reduce(0) { $0 + $1.bytes.count } }

    /// Takes data in; returns the part (for a D-SACK) that was here before, if any.
    mutating func insert(_ bytes: ArraySlice<UInt8>, at start: Int) -> Range<Int>? {
        let range = start..<start + bytes.count
        var duplicate: Range<Int>?
        var position = start
        var added: [(start: Int, bytes: [UInt8])] = []
        for piece in pieces where piece.start < range.upperBound && piece.start + piece.bytes.count > range.lowerBound {
            let common = range.clamped(to: piece.start..<piece.start + piece.bytes.count)
            duplicate = duplicate ?? common
            if position < common.lowerBound {
                added.append((position, Array(bytes.dropFirst(position - start).prefix(common.lowerBound - position))))
            }
            position = max(position, common.upperBound)
        }
        if position < range.upperBound { added.append((position, Array(bytes.dropFirst(position - start)))) }
        pieces += added
        pieces.sort { $0.start < $1.start }
        noteBlock(range)
        return duplicate
    }

    private mutating func noteBlock(_ range: Range<Int>) {
        var merged = range
        for block in blocks where block.lowerBound <= merged.upperBound && block.upperBound >= merged.lowerBound {
            merged = min(merged.lowerBound, block.lowerBound)..<max(merged.upperBound, block.upperBound)
        }
        blocks.removeAll { $0.lowerBound <= merged.upperBound && $0.upperBound >= merged.lowerBound }
        blocks.insert(merged, at: 0)
    }

    /// What follows `next` without a hole.
    mutating func pop(at next: Int) -> [UInt8] {
        var result: [UInt8] = []
        while let first = pieces.first, first.start <= next + result.count {
            let skip = next + result.count - first.start
            if skip < first.bytes.count { result += first.bytes[skip...] }
            pieces.removeFirst()
        }
        blocks = blocks.filter { $0.lowerBound > next + result.count }
        return result
    }

    /// Forgets everything, as a kernel short of memory may.
    mutating func prune() {
        pieces = []
        blocks = []
    }
}
