import PacketWire
import TestSupport
import Testing

@testable import FlowEngine

/// What was appended is what is copied, wherever the ring begins anew.
@Suite struct ByteRingTests {
    @Test(arguments: 0..<50 as Range<UInt64>) func itKeepsAStream(seed: UInt64) {
        var random = SeededRandom(seed: seed)
        var ring = ByteRing()
        var stream: [UInt8] = []
        var spare = [UInt8](repeating: 0, count: 5000)
        for _ in 0..<400 {
            let bytes = random.bytes(random.int(0...(random.int(0...9) == 0 ? 5000 : 700)))
            switch random.int(0...3) {
            case 0: ring.append(bytes.span)
            case 1: ring.append(room: bytes.count, spare: &spare) { _ in nil }
            default:
                // A frame's room may be more than its data takes.
                ring.append(room: min(spare.count, bytes.count + random.int(0...30)), spare: &spare) { target in
                    target.copy(bytes.span, at: 0)
                    return bytes.count
                }
            }
            if ring.end > stream.count { stream += bytes }
            #expect(ring.end == stream.count)
            ring.discard(before: random.int(ring.start...ring.end))
            if random.int(0...9) == 0 { ring.giveBack(all: random.chance(0.5)) }
            var copied = [UInt8](repeating: 0, count: ring.count)
            var target = copied.mutableSpan
            ring.copy(ring.start..<ring.end, into: &target, at: 0)
            #expect(copied[...] == stream[ring.start...])
        }
    }
}
