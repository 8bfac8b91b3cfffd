import FlowEngine
import Testing

@testable import DaemonCore

@Suite struct MarkBitsTests {
    let marks = MarkBits()

    @Test(arguments: [
        (FlowMark.undecided, UInt32(0x1000_0000)), (.plain, 0x3000_0000), (.encrypted, 0x5000_0000),
    ])
    func setsOurBitsAndKeepsTheOthers(flow: FlowMark, bits: UInt32) {
        #expect(marks.verdict(0, flow, .inbound) == bits)
        #expect(marks.verdict(0x8000_1234, flow, .inbound) == bits | 0x8000_1234)
        #expect(marks.verdict(0xffff_ffff, flow, .inbound) == bits | 0x8fff_ffff)
    }

    @Test func outboundVerdictsChangeNothing() {
        for flow in [FlowMark.undecided, .plain, .encrypted] {
            #expect(marks.verdict(0x5000_1234, flow, .outbound) == 0x5000_1234)
        }
    }

    @Test func injectedPacketsCarryOnlyForeignBits() {
        #expect(marks.foreign(0x7000_00ff) == 0xff)
    }
}

@Suite struct PendingMarksTests {
    @Test func eachPacketOnce() {
        var pending = PendingMarks(capacity: 4)
        pending.insert(1, mark: PendingMark(mark: 11))
        #expect(pending.remove(2) == nil)
        #expect(pending.remove(1)?.mark == 11)
        #expect(pending.remove(1) == nil)
        #expect(pending.count == 0)
    }

    @Test func packetsHeldForLongAreFound() {
        var pending = PendingMarks(capacity: 4)
        for number: UInt32 in 0..<100 { pending.insert(number, mark: PendingMark(mark: number &* 2)) }
        #expect(pending.count == 100)
        for number: UInt32 in (0..<100).reversed() { #expect(pending.remove(number)?.mark == number &* 2) }
        #expect(pending.count == 0)
    }

    @Test func numbersWrap() {
        var pending = PendingMarks(capacity: 4)
        pending.insert(.max, mark: PendingMark(mark: 1))
        pending.insert(0, mark: PendingMark(mark: 2))
        #expect(pending.remove(.max)?.mark == 1)
        #expect(pending.remove(0)?.mark == 2)
    }
}
