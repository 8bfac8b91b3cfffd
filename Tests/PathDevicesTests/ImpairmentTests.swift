import PacketWire
import PathDevices
import Testing

@Suite struct ImpairmentTests {
    private func numbered(_ bench: Bench, _ count: Int, size: Int = 100) -> [WirePacket] {
        (0..<count).map { bench.segment(sequence: UInt32($0), data: pattern(size)) }
    }

    @Test func delayIsExact() throws {
        let bench = try Bench(toRight: "delay=25ms")
        bench.send(numbered(bench, 3), milliseconds: 24)
        #expect(bench.right.packets.isEmpty)
        bench.wait(milliseconds: 1)
        #expect(bench.right.times == [25_000_000, 25_000_000, 25_000_000])
        #expect(bench.right.parsed.map(\.sequence.rawValue) == [0, 1, 2])
    }

    @Test func jitterVariesAndKeepsOrder() throws {
        let bench = try Bench(toRight: "delay=10ms jitter=5ms")
        for packet in numbered(bench, 300) { bench.send([packet], milliseconds: 1) }
        bench.wait(milliseconds: 20)
        #expect(bench.right.parsed.map(\.sequence.rawValue) == Array(0..<300))
        let delays = bench.right.times.enumerated().map { $1 - Int64($0) * 1_000_000 }
        #expect(delays.allSatisfy { (10_000_000...15_000_000).contains($0) })
        #expect((delays.max() ?? 0) - (delays.min() ?? 0) > 3_000_000)
    }

    @Test func rateSpacesPacketsAndDropsWhatTheQueueCannotHold() throws {
        // 1250 bytes at 10 Mbit/s: a millisecond each.
        let bench = try Bench(toRight: "rate=10mbit queue=12500B")
        bench.send(numbered(bench, 15, size: 1210), milliseconds: 100)
        #expect(bench.right.times == (1...10).map { Int64($0) * 1_000_000 })
        #expect(bench.count("rate") == 5)
    }

    @Test func lossHasItsShare() throws {
        let bench = try Bench(toRight: "loss=10%", toLeft: "loss=30%")
        bench.send(numbered(bench, 10_000))
        bench.send(numbered(bench, 10_000), .toLeft)
        #expect((8800...9200).contains(bench.right.packets.count))
        #expect(bench.count("loss") == UInt64(10_000 - bench.right.packets.count))
        #expect((6800...7200).contains(bench.left.packets.count))
    }

    @Test func burstsAreRuns() throws {
        let bench = try Bench(toRight: "burst=1%:8")
        bench.send(numbered(bench, 20_000))
        let arrived = bench.right.parsed.map { Int($0.sequence.rawValue) }
        let gaps = zip(arrived, arrived.dropFirst()).map { $1 - $0 - 1 }.filter { $0 > 0 }
        let mean = Double(gaps.reduce(0, +)) / Double(max(1, gaps.count))
        #expect((6.5...9.5).contains(mean), "mean run \(mean)")
        #expect((120...240).contains(gaps.count), "\(gaps.count) runs")
    }

    @Test func aPauseEndsABurst() throws {
        let bench = try Bench(toRight: "burst=10%:100000")
        for packet in numbered(bench, 300) { bench.send([packet], milliseconds: 21) }
        #expect((240...290).contains(bench.right.packets.count))
    }

    @Test func reorderedPacketsAreOvertaken() throws {
        let bench = try Bench(toRight: "reorder=10%:5ms")
        for packet in numbered(bench, 1000) { bench.send([packet], milliseconds: 1) }
        bench.wait(milliseconds: 10)
        let order = bench.right.parsed.map(\.sequence.rawValue)
        #expect(order.sorted() == Array(0..<1000))
        #expect((70...130).contains(bench.count("reorder")))
        #expect(zip(order, order.dropFirst()).filter { $1 < $0 }.count > 30)
    }

    @Test func duplicatesAreCounted() throws {
        let bench = try Bench(toRight: "duplicate=5%")
        bench.send(numbered(bench, 2000))
        #expect(bench.right.packets.count == 2000 + Int(bench.count("duplicate")))
        #expect((60...140).contains(bench.count("duplicate")))
    }

    @Test(arguments: [false, true]) func corruptionBreaksTheChecksumAndTamperingDoesNot(isIPv6: Bool) throws {
        for (word, breaks) in [("corrupt", true), ("tamper", false)] {
            let bench = try Bench(isIPv6: isIPv6, toRight: "\(word)=100%")
            let sent = numbered(bench, 300)
            bench.send(sent)
            #expect(bench.count(word) == 300)
            for (packet, arrived) in zip(sent, bench.right.packets) {
                #expect(packet.bytes != arrived.bytes && packet.bytes.count == arrived.bytes.count)
                guard let parsed = packet.parsed else { continue }
                #expect(PacketBuilder.hasValidChecksums(arrived.bytes, parsed) != breaks)
                #expect(arrived.bytes.prefix(parsed.tcpOffset) == packet.bytes.prefix(parsed.tcpOffset))
            }
        }
    }

    @Test func oneSeedOneRun() throws {
        let text = "loss=5% jitter=3ms reorder=5%:2ms duplicate=5% corrupt=1%"
        let runs = try [UInt64(1), 1, 2].map { seed in
            let bench = try Bench(seed: seed, toRight: text)
            for packet in numbered(bench, 500) { bench.send([packet], milliseconds: 1) }
            bench.wait(milliseconds: 20)
            return bench.right.packets.map(\.bytes)
        }
        #expect(runs[0] == runs[1])
        #expect(runs[0] != runs[2])
    }

    @Test func changingAPathLosesNothingOnItsWay() throws {
        let bench = try Bench(toRight: "delay=20ms rate=10mbit")
        bench.send(numbered(bench, 10), milliseconds: 5)
        bench.path.set(.toRight, to: try PathSpecification(parsing: "loss=100% delay=20ms rate=10mbit"))
        bench.send(numbered(bench, 10), milliseconds: 5)
        bench.path.set(.toRight, to: PathSpecification())
        bench.wait(milliseconds: 100)
        #expect(bench.right.packets.count == 10)
        #expect(bench.count("loss") == 10)
    }
}
