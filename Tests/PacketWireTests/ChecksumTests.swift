import PacketWire
import TestSupport
import Testing

@Suite struct ChecksumTests {
    /// RFC 1071 section 1, word by word, as slowly as it can be done.
    private func reference(_ bytes: [UInt8]) -> UInt16 {
        var sum: UInt32 = 0
        for index in stride(from: 0, to: bytes.count, by: 2) {
            let low = index + 1 < bytes.count ? bytes[index + 1] : 0
            sum += UInt32(bytes[index]) << 8 | UInt32(low)
            if sum > 0xffff { sum = sum & 0xffff + 1 }
        }
        return ~UInt16(sum)
    }

    private func checksum(_ parts: [UInt8]...) -> UInt16 {
        var sum = Checksum()
        for part in parts { sum.add(part.span) }
        return sum.value
    }

    @Test func knownValues() {
        // The example of RFC 1071 section 3.
        #expect(checksum(hex("00 01 f2 03 f4 f5 f6 f7")) == ~0xddf2)
        // A well-known IPv4 header.
        #expect(checksum(hex("4500 0073 0000 4000 4011 0000 c0a8 0001 c0a8 00c7")) == 0xb861)
        #expect(checksum(hex("4500 0073 0000 4000 4011 b861 c0a8 0001 c0a8 00c7")) == 0)
        #expect(checksum([]) == 0xffff)
        #expect(checksum([0xff]) == 0x00ff)
    }

    @Test func everyLengthAgreesWithTheReference() {
        var random = SeededRandom(seed: 1)
        for count in 0...300 {
            let bytes = random.bytes(count)
            #expect(checksum(bytes) == reference(bytes), "\(count) bytes")
        }
        let ones = [UInt8](repeating: 0xff, count: 65_535)
        #expect(checksum(ones) == reference(ones))
    }

    @Test func partsContinueAcrossOddLengths() {
        Property.holds { random in
            let bytes = random.bytes(random.int(0...600))
            var sum = Checksum()
            var start = 0
            while start < bytes.count {
                let end = min(bytes.count, start + random.int(0...(random.chance(0.5) ? 7 : 100)))
                sum.add(bytes[start..<end].span)
                start = end
            }
            return sum.value == reference(bytes) ? nil : "\(bytes)"
        }
    }

    @Test func wordsAndAddressesCountLikeTheirBytes() {
        Property.holds { random in
            let address = random.address()
            let word = UInt16(truncatingIfNeeded: random.next())
            var sum = Checksum()
            sum.add(address)
            sum.add(word: word)
            let bytes = address.bytes + [UInt8(word >> 8), UInt8(word & 0xff)]
            return sum.value == reference(bytes) ? nil : "\(address) \(word)"
        }
    }
}
