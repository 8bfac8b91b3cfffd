import FlowEngine
import Testing

@testable import DaemonCore

@Suite struct MarkBitsTests {
    let marks = MarkBits()

    @Test(arguments: [
        (FlowMark.undecided, UInt32(0x1000_0000)), (.plain, 0x3000_0000), (.encrypted, 0x5000_0000),
    ])
    func setsOurBitsAndKeepsTheOthers(flow: FlowMark, bits: UInt32) {
        #expect(marks.verdict(0, flow) == bits)
        #expect(marks.verdict(0x8000_1234, flow) == bits | 0x8000_1234)
        #expect(marks.verdict(0xffff_ffff, flow) == bits | 0x8fff_ffff)
    }

    @Test func injectedPacketsCarryOnlyForeignBits() {
        #expect(marks.foreign(0x7000_00ff) == 0xff)
    }
}

@Suite struct PendingMarksTests {
    @Test func eachPacketOnce() {
        var pending = PendingMarks(capacity: 4)
        pending.insert(1, mark: 11)
        #expect(pending.remove(2) == nil)
        #expect(pending.remove(1) == 11)
        #expect(pending.remove(1) == nil)
        #expect(pending.count == 0)
    }

    @Test func packetsHeldForLongAreFound() {
        var pending = PendingMarks(capacity: 4)
        for number: UInt32 in 0..<100 { pending.insert(number, mark: number &* 2) }
        #expect(pending.count == 100)
        for number: UInt32 in (0..<100).reversed() { #expect(pending.remove(number) == number &* 2) }
        #expect(pending.count == 0)
    }

    @Test func numbersWrap() {
        var pending = PendingMarks(capacity: 4)
        pending.insert(.max, mark: 1)
        pending.insert(0, mark: 2)
        #expect(pending.remove(.max) == 1)
        #expect(pending.remove(0) == 2)
    }
}
