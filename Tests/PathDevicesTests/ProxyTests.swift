import PacketWire
import PathDevices
import Testing

@Suite struct ProxyTests {
    private let sackPermitted: [UInt8] = [4, 2]

    /// Both SYNs and the third ACK through a path; numbers of data begin at 1000 and 5000.
    private func open(_ bench: Bench) {
        bench.send(bench.segment(.toRight, [.syn], sequence: 999, window: 30_000, options: sackPermitted))
        bench.send(
            bench.segment(.toLeft, [.syn, .ack], sequence: 4999, ack: 1000, window: 30_000, options: sackPermitted),
            .toLeft)
        bench.send(bench.segment(.toRight, [.ack], sequence: 1000, ack: 5000, window: 30_000))
        forget(bench)
    }

    private func forget(_ bench: Bench) {
        bench.right.packets = []
        bench.left.packets = []
    }

    private func data(_ bench: Bench, _ sequence: UInt32, _ count: Int = 100) -> WirePacket {
        bench.segment(sequence: sequence, ack: 5000, window: 30_000, data: pattern(count, from: Int(sequence)))
    }

    private func answer(_ bench: Bench, _ ack: UInt32, sack: (UInt32, UInt32)? = nil, window: UInt16 = 30_000)
        -> WirePacket
    {
        var options: [UInt8] = []
        if let sack {
            options = [5, 10]
            options.append(bigEndian: sack.0)
            options.append(bigEndian: sack.1)
        }
        return bench.segment(.toLeft, [.ack], sequence: 5000, ack: ack, window: window, options: options)
    }

    @Test(arguments: [false, true]) func dataIsAcknowledgedAndRepeatedUntilTheReceiverHasIt(isIPv6: Bool) throws {
        let bench = try Bench(isIPv6: isIPv6, toRight: "proxy-ack")
        open(bench)
        bench.send(data(bench, 1000))
        #expect(bench.left.parsed.map(\.acknowledgment.rawValue) == [1100])
        #expect(bench.left.parsed.map(\.sequence.rawValue) == [5000])
        #expect(bench.right.parsed.map(\.sequence.rawValue) == [1000])
        // Nothing comes back: it is sent again, and again.
        bench.wait(milliseconds: 2000)
        #expect(bench.right.packets.count >= 3)
        #expect(bench.right.packets.allSatisfy { $0.bytes == bench.right.packets[0].bytes })
        // The receiver's own acknowledgement says nothing new and goes no further; nor does anything else happen.
        bench.send(answer(bench, 1100), .toLeft)
        let count = bench.right.packets.count
        bench.wait(milliseconds: 60_000)
        #expect(bench.right.packets.count == count && bench.left.packets.count == 1)
        #expect(bench.isSound)
        // What the sender repeats is acknowledged again.
        bench.send(data(bench, 1000))
        #expect(bench.left.parsed.last?.acknowledgment.rawValue == 1100 && bench.right.packets.count == count)
    }

    @Test func holesAheadOfTheProxyAreReported() throws {
        let bench = try Bench(toRight: "proxy-ack")
        open(bench)
        bench.send([data(bench, 1000), data(bench, 1200), data(bench, 1300)])
        #expect(bench.left.parsed.map(\.acknowledgment.rawValue) == [1100, 1100, 1100])
        #expect(bench.left.options(2).sackBlocks.map(\.start.rawValue) == [1200])
        #expect(bench.left.options(2).sackBlocks.map(\.end.rawValue) == [1400])
        #expect(bench.right.parsed.map(\.sequence.rawValue) == [1000])
        bench.send(data(bench, 1100))
        #expect(bench.left.parsed.last?.acknowledgment.rawValue == 1400)
        #expect(bench.right.parsed.map(\.sequence.rawValue) == [1000, 1100, 1200, 1300])
    }

    @Test func holesBehindTheProxyAreFilled() throws {
        let bench = try Bench(toRight: "proxy-ack")
        open(bench)
        bench.send((0..<6).map { data(bench, 1000 + 100 * $0) })
        forget(bench)
        // 1100 was lost.
        for end: UInt32 in [1300, 1400, 1500, 1600] { bench.send(answer(bench, 1100, sack: (1200, end)), .toLeft) }
        #expect(bench.right.parsed.map(\.sequence.rawValue) == [1100])
        #expect(bench.left.packets.isEmpty)
        bench.send(answer(bench, 1600), .toLeft)
        bench.wait(milliseconds: 10_000)
        #expect(bench.right.packets.count == 1)
    }

    @Test func windowIsTheReceivers() throws {
        let bench = try Bench(toRight: "proxy-ack")
        open(bench)
        bench.send(answer(bench, 1000, window: 150), .toLeft)
        bench.send([data(bench, 1000), data(bench, 1100)])
        #expect(bench.right.parsed.map(\.sequence.rawValue) == [1000])
        bench.send(answer(bench, 1100, window: 200), .toLeft)
        #expect(bench.right.parsed.map(\.sequence.rawValue) == [1000, 1100])
    }

    @Test func theEndIsTheReceiversToAcknowledge() throws {
        let bench = try Bench(toRight: "proxy-ack")
        open(bench)
        bench.send(bench.segment(.toRight, [.ack, .fin], sequence: 1000, ack: 5000, data: pattern(10)))
        #expect(bench.left.parsed.map(\.acknowledgment.rawValue) == [1010])
        #expect(bench.right.parsed.map { $0.flags.contains(.fin) } == [true])
        for _ in 0..<2 { bench.send(answer(bench, 1011), .toLeft) }
        #expect(bench.left.parsed.map(\.acknowledgment.rawValue) == [1010, 1011, 1011])
    }

    @Test(arguments: [false, true]) func handshakesAreAnsweredByTheProxy(isIPv6: Bool) throws {
        let bench = try Bench(isIPv6: isIPv6, toRight: "syn-proxy=1200")
        let options: [UInt8] = [2, 4, 0x05, 0xb4, 4, 2, 3, 3, 7, 69, 3, 0x21]
        bench.send(bench.segment(.toRight, [.syn], sequence: 999, options: options))
        #expect(bench.right.packets.isEmpty)
        let synAck = try #require(bench.left.parsed.first)
        #expect(synAck.flags == [.syn, .ack] && synAck.acknowledgment.rawValue == 1000)
        #expect(bench.left.options(0).maximumSegmentSize == 1200 && bench.left.options(0).count == 4)
        let cookie = synAck.sequence.rawValue
        // A guess opens nothing.
        bench.send(bench.segment(.toRight, [.ack], sequence: 1000, ack: cookie &+ 2))
        #expect(bench.right.packets.isEmpty)
        bench.send(bench.segment(.toRight, [.ack], sequence: 1000, ack: cookie &+ 1))
        bench.send(bench.segment(.toRight, [.ack], sequence: 1000, ack: cookie &+ 1, data: pattern(20)))
        #expect(bench.right.parsed.map(\.flags) == [[.syn]] && bench.right.parsed[0].sequence.rawValue == 999)
        // The server is asked again, then answers; what was held follows.
        bench.wait(milliseconds: 1500)
        #expect(bench.right.parsed.map(\.flags) == [[.syn], [.syn]])
        bench.send(bench.segment(.toLeft, [.syn, .ack], sequence: 4999, ack: 1000), .toLeft)
        #expect(bench.right.parsed.dropFirst(2).map(\.acknowledgment.rawValue) == [5000, 5000])
        #expect(bench.right.data(3) == pattern(20))
        #expect(bench.left.packets.count == 1)
        bench.send(bench.segment(.toLeft, [.ack], sequence: 5000, ack: 1020, data: pattern(5)), .toLeft)
        #expect(bench.left.parsed.last?.sequence.rawValue == cookie &+ 1)
        bench.send(bench.segment(.toRight, [.ack], sequence: 1020, ack: cookie &+ 6))
        #expect(bench.right.parsed.last?.acknowledgment.rawValue == 5005)
        #expect(bench.isSound && bench.count("syn-proxy") == 1)
    }

    @Test func aRefusalReachesTheClientInItsOwnNumbers() throws {
        let bench = try Bench(toRight: "syn-proxy")
        bench.send(bench.segment(.toRight, [.syn], sequence: 999))
        let cookie = bench.left.parsed.first?.sequence.rawValue ?? 0
        bench.send(bench.segment(.toRight, [.ack], sequence: 1000, ack: cookie &+ 1))
        bench.send(bench.segment(.toLeft, [.rst, .ack], sequence: 0, ack: 1000), .toLeft)
        let reset = try #require(bench.left.parsed.last)
        #expect(reset.flags.contains(.rst) && reset.sequence.rawValue == cookie &+ 1)
    }
}
