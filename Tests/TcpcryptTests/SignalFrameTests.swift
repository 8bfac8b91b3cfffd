import OpenSSLProvider
import PacketWire
import Testing

@testable import Tcpcrypt

/// Frames that carry MPTCP's signalling (the article ProtectedSignalling).
@Suite struct SignalFrameTests {
    /// DSS with 64-bit numbers, its acknowledgement, mapping and checksum: 28 bytes.
    private static let dss: [UInt8] = [30, 28, 0x20, 0x0f] + (0..<24).map { 0xa0 + $0 }
    private static let echo: [UInt8] = [30, 8, 0x31, 7, 10, 0, 0, 2]
    private static let removal: [UInt8] = [30, 4, 0x40, 7]
    private static let priority: [UInt8] = [30, 3, 0x51]
    private static let full = dss + echo + removal

    /// A genuine frame of A's with any control byte and any plaintext: what a sealer never makes.
    private func frame(_ control: UInt8, _ plain: [UInt8], of pair: Pair) -> [UInt8] {
        let master = provider.derive(Constant.rekey, from: pair.a.secret)
        let key = TrafficKey(master: master, generation: 0, sender: .a, algorithm: .aes128GCM, crypto: provider)
        let length = plain.count + AEADAlgorithm.tagLength
        let control = [control, UInt8(length >> 8), UInt8(length & 0xff)]
        var frame = control + [UInt8](repeating: 0, count: length)
        var whole = frame.mutableSpan
        var target = whole._mutatingExtracting(Frame.controlLength..<Frame.controlLength + length)
        let isSealed = key.seal(
            offset: 9, aad: control.span, head: plain.span.extracting(0..<0), data: plain.span, into: &target)
        #expect(isSealed)
        return frame
    }

    @Test func lengths() {
        #expect(Self.full.count == Frame.maximumSignals)
        #expect(Frame.length(data: 5, urgent: false, signals: 14) == 39 && Frame.lead(urgent: false, signals: 14) == 18)
        #expect(Frame.length(data: 5, urgent: true, signals: 40) == 67 && Frame.lead(urgent: true, signals: 40) == 46)
        #expect(Frame.control([40 << 1 | 1, 0, 57])?.reserved == 40)
    }

    /// Control, clen and what is encrypted stand where the article has them; all AEADs, all fields.
    @Test(arguments: AEADAlgorithm.allCases)
    func roundTrip(_ aead: AEADAlgorithm) throws {
        let pair = try Pair(tep: .curve25519MPTCP, aead: aead)
        let (sealer, opener) = (pair.a.ends.sealer, pair.b.ends.opener)
        let random = SeededRandom(23)
        var offset: UInt64 = 100
        for signals in [[], Self.priority, Self.dss, Self.echo + Self.removal, Self.full] {
            for urgent in [nil, 3] as [UInt16?] {
                for (count, rekey) in [(0, false), (0, true), (1, true), (1_400, false)] {
                    let data = random.bytes(count)
                    let sealed = sealer.frame(data, urgent: urgent, rekey: rekey, signals: signals, offset: offset)
                    let frame = try #require(sealed)
                    #expect(frame[0] == UInt8(signals.count) << 1 | (rekey ? 1 : 0))
                    #expect(frame.count == 20 + signals.count + (urgent == nil ? 0 : 2) + count)
                    let result = opener.data(frame, offset: offset)
                    let opened = try #require(result)
                    #expect(opened.data == data && opened.opened.urgent == urgent && opened.opened.rekey == rekey)
                    #expect(opened.opened.signalBytes == signals && !opened.opened.fin)
                    #expect(opened.opened.lead == frame.count - 16 - count)
                    offset += UInt64(frame.count)
                }
            }
        }
        let last = try #require(sealer.frame([1], fin: true, signals: Self.dss, offset: offset))
        let opened = try #require(opener.data(last, offset: offset))
        #expect(opened.opened.fin && opened.data == [1] && opened.opened.signalBytes == Self.dss)
    }

    @Test func sealerRefusesWhatDoesNotFit() throws {
        let sealer = try Pair(tep: .curve25519MPTCP).a.ends.sealer
        let tooMany = [UInt8](repeating: 1, count: 41)
        #expect(sealer.frame([], signals: tooMany, offset: 0) == nil)
        #expect(sealer.frame([1], rekey: true, signals: tooMany, offset: 0) == nil)
        // clen has 16 bits: the signals are at the cost of the data.
        let most = [UInt8](repeating: 7, count: Frame.maximumData)
        #expect(sealer.frame(most, urgent: 1, signals: [1], offset: 0) == nil)
        #expect(sealer.frame(most, urgent: 1, signals: Self.full, offset: 0) == nil)
        #expect(sealer.generation == 0)
        let fitting = sealer.frame(Array(most.dropLast(40)), urgent: 1, signals: Self.full, offset: 0)
        #expect(fitting?.count == 3 + 65_535)
    }

    /// n is 40 at most, and a frame has all its fields.
    @Test func framesThatMakeNoSenseDoNotOpen() throws {
        let pair = try Pair(tep: .curve25519MPTCP)
        let opener = pair.b.ends.opener
        let cases: [(n: Int, flags: UInt8, behind: Int, opens: Bool)] = [
            (0, 0, 0, true), (40, 0, 40, true), (41, 0, 41, false), (41, 0, 60, false), (127, 0, 127, false),
            (40, 0, 39, false), (1, 0, 0, false), (28, 0, 27, false), (28, 0, 28, true), (28, 0, 29, true),
            // With an urgent field, which is not there, half there, there.
            (0, 2, 0, false), (0, 2, 1, false), (0, 2, 2, true), (28, 2, 28, false), (28, 2, 29, false),
            (28, 2, 30, true), (40, 2, 41, false), (40, 2, 42, true),
        ]
        for (n, flags, behind, opens) in cases {
            let bytes = frame(UInt8(n) << 1, [flags] + [UInt8](repeating: 1, count: behind), of: pair)
            let opened = opener.data(bytes, offset: 9)
            #expect((opened != nil) == opens, "n \(n), flags \(flags), \(behind) bytes behind them")
            if let opened { #expect(opened.data.count == behind - n - (flags & 2 == 0 ? 0 : 2)) }
        }
        // Nor do those move the generation on.
        #expect(opener.data(frame(41 << 1 | 1, [UInt8](repeating: 0, count: 60), of: pair), offset: 9) == nil)
        #expect(opener.generation == 0)
    }

    /// Of signals that are no options nothing is kept, but the rest of the frame is what it is.
    @Test func signalsWithoutSense() throws {
        let pair = try Pair(tep: .curve25519MPTCP)
        let opener = pair.b.ends.opener
        for (signals, kept) in [
            ([30], []), ([30, 0, 30, 3, 0x50], []), ([30, 9, 0x20], []), ([1, 1, 0, 30, 3, 0x50], []),
            (Self.priority + [30, 1], Self.priority), (Self.echo + [30], Self.echo),
            (
                [8, 10] + [UInt8](repeating: 0, count: 8) + Self.priority,
                [8, 10] + [UInt8](repeating: 0, count: 8) + Self.priority
            ),
        ] as [([UInt8], [UInt8])] {
            let bytes = frame(UInt8(signals.count) << 1, [0] + signals + [0x77], of: pair)
            let opened = try #require(opener.data(bytes, offset: 9))
            #expect(opened.data == [0x77] && opened.opened.signalBytes == kept)
            #expect(opened.opened.lead == 4 + signals.count)
        }
    }

    /// RFC 8548 section 4.2: who does not know better ignores the bits, whatever stands behind the flags.
    @Test(arguments: TEP.allCases.filter { !$0.protectsSignals })
    func otherTEPsIgnoreTheBits(_ tep: TEP) throws {
        let pair = try Pair(tep: tep)
        let opener = pair.b.ends.opener
        for control: UInt8 in [3 << 1, 40 << 1, 41 << 1, 0xfe] {
            let opened = try #require(opener.data(frame(control, [0] + Self.priority, of: pair), offset: 9))
            #expect(opened.data == Self.priority && opened.opened.signalBytes.isEmpty && opened.opened.lead == 4)
        }
    }

    /// Every bit of control, clen, flags, signals, urgent field, data and tag counts.
    @Test(arguments: AEADAlgorithm.allCases)
    func tampering(_ aead: AEADAlgorithm) throws {
        let pair = try Pair(tep: .curve25519MPTCP, aead: aead)
        let (sealer, opener) = (pair.a.ends.sealer, pair.b.ends.opener)
        let frame = try #require(sealer.frame([1, 2, 3], urgent: 3, signals: Self.dss, offset: 77))
        for index in frame.indices {
            for bit in 0..<8 {
                var bad = frame
                bad[index] ^= UInt8(1 << bit)
                #expect(opener.data(bad, offset: 77) == nil, "bit \(bit) of byte \(index)")
            }
        }
        // Any other n, so that data would be signals or signals data.
        for n in 0...127 where n != Self.dss.count {
            var bad = frame
            bad[0] = UInt8(n) << 1
            #expect(opener.data(bad, offset: 77) == nil)
        }
        #expect(opener.generation == 0 && opener.data(frame, offset: 77)?.data == [1, 2, 3])
    }
}
