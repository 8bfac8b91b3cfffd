import OpenSSLProvider
import Testing

@testable import Tcpcrypt

/// Frames (RFC 8548 sections 3.6 to 3.8 and 4.2).
@Suite struct FrameTests {
    @Test func lengths() {
        #expect(Frame.overhead == 20 && Frame.controlLength == 3)
        #expect(Frame.length(data: 0, urgent: false) == 20)
        #expect(Frame.length(data: 5, urgent: true) == 27)
        #expect(Frame.length(data: Frame.maximumData, urgent: true) == 3 + 65_535)
    }

    @Test func control() throws {
        for short in [[], [0], [0, 0]] as [[UInt8]] { #expect(Frame.control(short) == nil) }
        #expect(Frame.control([0, 0, 16]) == nil)
        let least = try #require(Frame.control([0, 0, 17]))
        #expect(least.length == 20 && !least.rekey)
        // Reserved bits are ignored.
        let most = try #require(Frame.control([0xff, 0xff, 0xff]))
        #expect(most.length == 65_538 && most.rekey)
    }

    @Test(arguments: AEADAlgorithm.allCases)
    func roundTrip(_ aead: AEADAlgorithm) throws {
        let pair = try Pair(aead: aead)
        let sealer = pair.a.ends.sealer
        let opener = pair.b.ends.opener
        let random = SeededRandom(21)
        var offset: UInt64 = 100
        for count in [0, 1, 2, 15, 16, 17, 1_000, 14_000, Frame.maximumData] {
            for urgent in [nil, 0, 65_535] as [UInt16?] {
                let data = random.bytes(count)
                let sealed = sealer.frame(data, urgent: urgent, offset: offset)
                let frame = try #require(sealed)
                #expect(frame.count == Frame.length(data: count, urgent: urgent != nil))
                #expect(Frame.control(frame)?.length == frame.count)
                let result = opener.data(frame, offset: offset)
                let opened = try #require(result)
                #expect(opened.data == data && opened.opened.urgent == urgent)
                #expect(!opened.opened.fin && !opened.opened.rekey)
                offset += UInt64(frame.count)
            }
        }
    }

    /// Every bit of every byte counts, and so does the offset.
    @Test(arguments: AEADAlgorithm.allCases)
    func tampering(_ aead: AEADAlgorithm) throws {
        let pair = try Pair(aead: aead)
        let sealer = pair.a.ends.sealer
        let opener = pair.b.ends.opener
        let sealed = sealer.frame(Array("hello".utf8), urgent: 3, offset: 77)
        let frame = try #require(sealed)
        for index in frame.indices {
            for bit in 0..<8 {
                var bad = frame
                bad[index] ^= UInt8(1 << bit)
                #expect(opener.data(bad, offset: 77) == nil)
            }
        }
        for offset: UInt64 in [0, 76, 78, 77 + (1 << 32)] { #expect(opener.data(frame, offset: offset) == nil) }
        for length in 0..<frame.count { #expect(opener.data(Array(frame[0..<length]), offset: 77) == nil) }
        #expect(opener.data(frame + [0], offset: 77) == nil)
        // None of that harmed the stream: not even a forged rekey bit.
        #expect(opener.generation == 0)
        #expect(opener.data(frame, offset: 77)?.data == Array("hello".utf8))
    }

    /// RFC 8548 section 4.2.1: six bits of the flags mean nothing, yet. Our own are zero in the golden vectors.
    @Test func reservedFlagsAreIgnored() throws {
        let pair = try Pair()
        let opener = pair.b.ends.opener
        let master = provider.derive(Constant.rekey, from: pair.a.secret)
        let key = TrafficKey(master: master, generation: 0, sender: .a, algorithm: .aes128GCM, crypto: provider)
        for (flags, fin) in [(UInt8(0xfc), false), (0xfd, true), (0x80, false)] {
            // Reserved bits of the control byte too (4.2).
            var frame: [UInt8] = [0xfe, 0, 18] + [UInt8](repeating: 0, count: 18)
            let (control, head, data) = (Array(frame.prefix(3)), [flags], [UInt8(7)])
            var whole = frame.mutableSpan
            var target = whole._mutatingExtracting(3..<21)
            let isSealed = key.seal(offset: 9, aad: control.span, head: head.span, data: data.span, into: &target)
            #expect(isSealed)
            let opened = try #require(opener.data(frame, offset: 9))
            #expect(opened.data == [7] && opened.opened.fin == fin && opened.opened.urgent == nil)
            #expect(!opened.opened.rekey)
        }
    }

    /// The keys of the two directions differ, and a host does not take its own frames back.
    @Test func reflection() throws {
        let pair = try Pair()
        let (sealer, opener) = pair.a.ends
        let frame = try #require(sealer.frame([1], offset: 0))
        #expect(opener.data(frame, offset: 0) == nil)
    }

    @Test func offsetsAreUsedOnce() throws {
        let sealer = try Pair().a.ends.sealer
        #expect(sealer.frame([1, 2, 3], offset: 50) != nil)
        for offset: UInt64 in [0, 49, 50, 51, 72] { #expect(sealer.frame([4], offset: offset) == nil) }
        #expect(sealer.frame([4], rekey: true, offset: 50) == nil)
        #expect(sealer.generation == 0)
        #expect(sealer.frame([4], offset: 73) != nil)
        #expect(sealer.frame([4], offset: .max - 10) == nil)
    }

    @Test func nothingFollowsFINp() throws {
        let pair = try Pair()
        let sealer = pair.a.ends.sealer
        let opener = pair.b.ends.opener
        let frame = try #require(sealer.frame([1], fin: true, offset: 0))
        #expect(sealer.frame([2], offset: 100) == nil)
        #expect(opener.data(frame, offset: 0)?.opened.fin == true)
    }

    @Test func lengthLimits() throws {
        let pair = try Pair()
        let sealer = pair.a.ends.sealer
        #expect(sealer.frame([UInt8](repeating: 0, count: Frame.maximumData + 1), offset: 0) == nil)
        var short = [UInt8](repeating: 0, count: 20)
        var target = short.mutableSpan
        let data: [UInt8] = [1]
        let done = sealer.sealer.seal(data: data.span, urgent: nil, fin: false, rekey: true, offset: 0, into: &target)
        #expect(!done && sealer.generation == 0)
        #expect(short.allSatisfy { $0 == 0 })

        let opener = pair.b.ends.opener
        let frame = try #require(sealer.frame([1, 2, 3], offset: 0))
        var room = [UInt8](repeating: 0, count: 2)
        var span = room.mutableSpan
        let opened = opener.opener.open(frame.span, offset: 0, into: &span)
        #expect(opened == nil && room == [0, 0])
    }

    /// RFC 8548 section 3.8: the frame with rekey = 1 is the first of its generation.
    @Test func rekeying() throws {
        let pair = try Pair()
        let sealer = pair.a.ends.sealer
        let opener = pair.b.ends.opener
        var offset: UInt64 = 0
        for step in 1...40 {
            let rekey = step % 3 == 0
            let sealed = sealer.frame([UInt8(step)], rekey: rekey, offset: offset)
            let frame = try #require(sealed)
            #expect(frame[0] == (rekey ? 1 : 0))
            let result = opener.data(frame, offset: offset)
            let opened = try #require(result)
            #expect(opened.opened.rekey == rekey && opened.data == [UInt8(step)])
            #expect(sealer.generation == step / 3 && opener.generation == step / 3)
            offset += UInt64(frame.count)
        }
    }

    /// RFC 8548 section 3.8: what was sent can no longer be read with what is in memory.
    @Test func keysOfOlderGenerationsAreErased() throws {
        let pair = try Pair()
        var (sealer, opener) = (pair.a.streams(provider).sealer, pair.b.streams(provider).opener)
        weak let first = sealer.key
        weak let second = opener.key
        var frame = [UInt8](repeating: 0, count: 20)
        var target = frame.mutableSpan
        let isSealed = sealer.seal(data: [UInt8]().span, urgent: nil, fin: false, rekey: true, offset: 0, into: &target)
        #expect(isSealed && first == nil && second != nil)
        var plain = [UInt8](repeating: 0, count: 20)
        var room = plain.mutableSpan
        #expect(opener.open(frame.span, offset: 0, into: &room) != nil)
        #expect(second == nil)
    }

    /// A frame of the new generation is not taken twice: the bit moves the generation on.
    @Test func rekeyFrameRepeated() throws {
        let pair = try Pair()
        let sealer = pair.a.ends.sealer
        let opener = pair.b.ends.opener
        let frame = try #require(sealer.frame([1], rekey: true, offset: 0))
        #expect(opener.data(frame, offset: 0) != nil)
        #expect(opener.data(frame, offset: 0) == nil)
        #expect(opener.generation == 1)
    }

    @Test func fuzz() throws {
        let opener = try Pair().b.ends.opener
        let random = SeededRandom(22)
        for _ in 0..<5_000 {
            var frame = random.bytes(random.below(64))
            if frame.count > 3 { (frame[1], frame[2]) = (0, UInt8(frame.count - 3)) }
            #expect(opener.data(frame, offset: random.next()) == nil)
        }
    }
}
