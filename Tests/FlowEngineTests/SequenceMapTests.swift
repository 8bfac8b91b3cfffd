import TestSupport
import Testing

@testable import FlowEngine

/// The two sequence spaces of one direction: every question about every offset, answered as the spans say.
@Suite struct SequenceMapTests {
    /// Found by fuzzing: the kernel's SACK block below the first byte (a D-SACK of the SYN) before any span was there.
    @Test func offsetsBelowTheFirstByteOfAnEmptyMap() {
        let map = SequenceMap()
        for offset in -5...5 {
            let clamped = min(0, offset)
            #expect(map.w(startingAt: offset) == clamped)
            #expect(map.w(acknowledging: offset) == clamped)
            #expect(map.k(acknowledgedBy: offset) == clamped)
            #expect(map.k(startingAtOrAbove: offset) == clamped)
            #expect(map.k(standingBelow: offset) == clamped)
        }
    }

    @Test(arguments: 0..<200 as Range<UInt64>) func everyByteHasOneShare(seed: UInt64) {
        var random = SeededRandom(seed: seed)
        let (map, owners) = streams(&random)
        // owners[w] is the K byte to whose share the wire byte at w belongs, nil for the engine's own.
        for k in 0..<map.kEnd {
            let share = owners.indices.filter { owners[$0] == k }
            #expect(map.w(startingAt: k) == share.first, "K \(k)")
            #expect(map.w(endingAt: k + 1) == share.last.map { $0 + 1 }, "K \(k)")
        }
        for w in 0...owners.count {
            // Acknowledged is a K byte when its whole share is, and nothing above is by rounding.
            let whole = (0..<map.kEnd).prefix { k in owners.lastIndex(of: k).map { $0 < w } ?? false }.count
            #expect(map.k(acknowledgedBy: w) == whole, "W \(w)")
            let first = (0..<map.kEnd).first { k in owners.firstIndex(of: k).map { $0 >= w } ?? false } ?? map.kEnd
            #expect(map.k(startingAtOrAbove: w) == first, "W \(w)")
        }
    }

    /// Found by `middlebox-stateful`: packets from the beginning of a connection, held until later ones had been acknowledged, named
    /// K numbers from before it.
    @Test func whatWasForgottenIsNotBeforeTheBeginning() {
        var map = SequenceMap()
        for _ in 0..<100 { map.append(kCount: 10, wCount: 30, lead: 4) }
        map.discard(k: map.kEnd, w: map.wEnd)
        #expect(map.count < 100)
        var previous = 0
        for w in 0...map.wEnd {
            let found = [map.k(acknowledgedBy: w), map.k(startingAtOrAbove: w), map.k(standingBelow: w)]
            #expect(found.allSatisfy { $0 >= previous && $0 <= min(w, map.kEnd) }, "W \(w)")
            previous = map.k(acknowledgedBy: w)
        }
    }

    @Test(arguments: 0..<200 as Range<UInt64>) func noOffsetTraps(seed: UInt64) {
        var random = SeededRandom(seed: seed)
        var (map, _) = streams(&random)
        map.discard(k: random.int(0...map.kEnd), w: map.wEnd)
        for offset in -40...map.wEnd + 40 {
            _ = (map.w(startingAt: offset), map.w(endingAt: offset), map.w(acknowledging: offset))
            _ = (map.k(acknowledgedBy: offset), map.k(startingAtOrAbove: offset), map.k(standingBelow: offset))
        }
    }

    /// Key exchange messages, empty frames, frames and a FIN, and for each wire byte the K byte that owns it.
    private func streams(_ random: inout SeededRandom) -> (SequenceMap, [Int?]) {
        var map = SequenceMap()
        var owners: [Int?] = []
        for _ in 0..<random.int(0...40) {
            let count = random.chance(0.3) ? 0 : random.int(1...6)
            let (lead, tail) = count == 0 ? (random.int(1...5), 0) : (random.int(0...3), random.int(0...3))
            let first = map.kEnd
            owners += [Int?](repeating: count == 0 ? nil : first, count: lead)
            owners += (first..<first + count).map { $0 }
            owners += [Int?](repeating: first + count - 1, count: tail)
            map.append(kCount: count, wCount: lead + count + tail, lead: lead)
        }
        return (map, owners)
    }
}
