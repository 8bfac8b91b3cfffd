import PacketWire
import PathDevices
import Testing

@Suite struct MiddleboxTests {
    private let eno: [UInt8] = [69, 3, 0x21]
    private let capable: [UInt8] = [30, 12, 0x01, 0x81, 1, 2, 3, 4, 5, 6, 7, 8]
    private let dss: [UInt8] = [30, 8, 0x20, 0x01, 1, 2, 3, 4]
    private let mss: [UInt8] = [2, 4, 0x05, 0xb4]

    @Test(arguments: [false, true]) func offersAreStrippedFromTheChosenSegmentOnly(isIPv6: Bool) throws {
        for (index, name) in ["syn", "synack", "ack"].enumerated() {
            let bench = try Bench(isIPv6: isIPv6, toRight: "strip-eno=\(name)")
            for flags in [[.syn], [.syn, .ack], [.ack]] as [TCPFlags] {
                bench.send([bench.segment(.toRight, flags, options: mss + eno, data: pattern(9))])
            }
            let kept = (0..<3).map { bench.right.options($0).contains(TCPOptionKind.encryptionNegotiation) }
            #expect(kept == (0..<3).map { $0 != index })
            #expect((0..<3).allSatisfy { bench.right.options($0).maximumSegmentSize == 1460 })
            #expect(bench.isSound && bench.count("strip-eno") == 1)
        }
    }

    @Test func multipathIsStrippedWhereToldTo() throws {
        for (name, gone) in [
            ("syn", [0]), ("synack", [1]), ("ack", [2]), ("data", [3]), ("all", [0, 1, 2, 3]),
        ] {
            let bench = try Bench(toRight: "strip-mptcp=\(name)")
            bench.send([
                bench.segment(.toRight, [.syn], options: mss + capable),
                bench.segment(.toRight, [.syn, .ack], options: mss + capable),
                bench.segment(.toRight, [.ack], options: capable), bench.segment(.toRight, [.ack], options: dss),
            ])
            let missing = (0..<4).filter { !bench.right.options($0).contains(TCPOptionKind.mptcp) }
            #expect(missing == gone, "\(name)")
            #expect(bench.isSound && bench.count("strip-mptcp") == UInt64(gone.count))
        }
    }

    @Test func clearedOptions() throws {
        let timestamps: [UInt8] = [8, 10, 0, 0, 0, 1, 0, 0, 0, 2]
        for (word, kinds) in [("clear-options", [2, 8]), ("clear-options=all", [])] as [(String, [UInt8])] {
            let bench = try Bench(toRight: word)
            bench.send(bench.segment(.toRight, [.syn], options: mss + timestamps + eno + capable))
            let options = bench.right.options(0)
            #expect([2, 8, 69, 30].filter { options.contains($0) } == kinds)
            #expect(bench.isSound)
        }
    }

    @Test(arguments: [false, true]) func segmentSizeIsLoweredNeverRaised(isIPv6: Bool) throws {
        let bench = try Bench(isIPv6: isIPv6, toRight: "clamp-mss=1200", toLeft: "clamp-mss=9000")
        bench.send(bench.segment(.toRight, [.syn], options: mss))
        bench.send(bench.segment(.toLeft, [.syn, .ack], options: mss), .toLeft)
        #expect(bench.right.options(0).maximumSegmentSize == 1200)
        #expect(bench.left.options(0).maximumSegmentSize == 1460)
        #expect(bench.isSound && bench.count("clamp-mss") == 1 && bench.count("clamp-mss", .toLeft) == 0)
    }

    @Test(arguments: [false, true]) func splitAndJoinedAgain(isIPv6: Bool) throws {
        let bench = try Bench(isIPv6: isIPv6, toRight: "split=600")
        bench.send(bench.segment(.toRight, [.ack, .psh, .fin], data: pattern(1448)))
        #expect(bench.right.parsed.map(\.payload.count) == [600, 600, 248])
        #expect(bench.right.parsed.map(\.sequence.rawValue) == [1000, 1600, 2200])
        #expect(bench.right.parsed.map { $0.flags.contains(.fin) } == [false, false, true])
        #expect((0..<3).flatMap { bench.right.data($0) } == pattern(1448) && bench.isSound)

        let joining = try Bench(isIPv6: isIPv6, toRight: "coalesce=1500")
        joining.send(
            [
                joining.segment(data: pattern(600)), joining.segment(sequence: 1600, data: pattern(600, from: 600)),
                joining.segment(sequence: 2200, data: pattern(600, from: 1200)),
            ], milliseconds: 1)
        #expect(joining.right.parsed.map(\.payload.count) == [1200, 600])
        #expect(joining.right.data(0) + joining.right.data(1) == pattern(1800) && joining.isSound)
        #expect(joining.count("coalesce") == 1)
    }

    @Test func joiningKeepsMappingsApart() throws {
        let bench = try Bench(toRight: "coalesce")
        bench.send(
            [
                bench.segment(options: dss, data: pattern(10)),
                bench.segment(sequence: 1010, options: dss.dropLast() + [9], data: pattern(10)),
                bench.segment(sequence: 1020, data: pattern(10)),
                bench.segment(.toRight, [.ack, .fin], sequence: 1030, data: pattern(10)),
            ], milliseconds: 1)
        #expect(bench.right.parsed.map(\.sequence.rawValue) == [1000, 1010, 1020, 1030])
    }

    @Test(arguments: [false, true]) func renumberedConsistently(isIPv6: Bool) throws {
        let bench = try Bench(isIPv6: isIPv6, toRight: "renumber", toLeft: "renumber")
        bench.send(bench.segment(.toRight, [.syn], sequence: 999))
        let offset = (bench.right.parsed.first?.sequence.rawValue ?? 0) &- 999
        #expect(offset != 0)
        bench.send(bench.segment(.toLeft, [.syn, .ack], sequence: 4999, ack: 1000 &+ offset), .toLeft)
        let backOffset = (bench.left.parsed.first?.sequence.rawValue ?? 0) &- 4999
        #expect(backOffset != 0 && backOffset != offset)
        #expect(bench.left.parsed[0].acknowledgment.rawValue == 1000)
        bench.send(bench.segment(.toRight, [.ack], sequence: 1000, ack: 5000 &+ backOffset, data: pattern(50)))
        #expect(bench.right.parsed[1].sequence.rawValue == 1000 &+ offset)
        #expect(bench.right.parsed[1].acknowledgment.rawValue == 5000)
        // SACK blocks are of the other direction's numbers.
        var sack: [UInt8] = [5, 10]
        sack.append(bigEndian: 1100 &+ offset)
        sack.append(bigEndian: 1200 &+ offset)
        bench.send(bench.segment(.toLeft, [.ack], sequence: 5000, ack: 1050 &+ offset, options: sack), .toLeft)
        #expect(bench.left.parsed[1].acknowledgment.rawValue == 1050)
        #expect(bench.left.options(1).sackBlocks.map(\.start.rawValue) == [1100])
        #expect(bench.left.options(1).sackBlocks.map(\.end.rawValue) == [1200])
        // A repeated SYN keeps its number, another connection's gets one of its own.
        bench.send(bench.segment(.toRight, [.syn], sequence: 999))
        bench.send(bench.segment(.toRight, [.syn], sequence: 70_000))
        #expect(bench.right.parsed[2].sequence.rawValue == 999 &+ offset)
        #expect(bench.right.parsed[3].sequence.rawValue != 70_000 &+ offset)
        #expect(bench.isSound)
    }

    @Test(arguments: [false, true]) func narrowLinkTellsTheSender(isIPv6: Bool) throws {
        let bench = try Bench(isIPv6: isIPv6, toRight: "renumber delay=1ms mtu=1280", toLeft: "delay=1ms")
        bench.send([bench.segment(.toRight, [.syn], sequence: 999), bench.segment(data: pattern(1000))])
        bench.send([bench.segment(sequence: 2000, data: pattern(1400))], milliseconds: 5)
        #expect(bench.right.packets.count == 2 && bench.count("mtu") == 1)
        let error = try #require(bench.left.packets.first)
        let icmp = isIPv6 ? 40 : 20
        #expect(Array(error.bytes[icmp..<icmp + 2]) == (isIPv6 ? [2, 0] : [3, 4]))
        #expect(error.bytes.span.loadUInt16(at: icmp + 6) == 1280)
        #expect(error.link.source == 2 && error.link.destination == 1)
        // It quotes the packet as its sender knows it.
        let quote = Array(error.bytes[(icmp + 8)...])
        let tcp = isIPv6 ? 40 : 20
        #expect(quote.span.loadUInt16(at: tcp) == 40_000)
        #expect(quote.span.loadUInt32(at: tcp + 4) == 2000)
        let addresses = IPAddress.pair(in: error.bytes.span)
        let pair = try #require(addresses)
        var sum = Checksum()
        if isIPv6 {
            sum.add(pair.source)
            sum.add(pair.destination)
            sum.add(word: 58)
            sum.add(word: UInt16(error.bytes.count - 40))
        }
        sum.add(error.bytes.span.extracting(icmp..<error.bytes.count))
        #expect(sum.value == 0)
        #expect(pair.destination == bench.leftEnd.address)
    }

    @Test func narrowLinkInSilence() throws {
        let bench = try Bench(toRight: "mtu=1280:silent")
        bench.send(bench.segment(data: pattern(1400)))
        #expect(bench.right.packets.isEmpty && bench.left.packets.isEmpty && bench.count("mtu") == 1)
    }

    @Test func narrowLinkCutsWhatAllowsIt() throws {
        let bench = try Bench(toRight: "mtu=576")
        var packet = bench.segment(data: pattern(1400))
        packet.bytes[6] = 0
        bench.send(packet)
        #expect(bench.right.packets.map(\.bytes.count) == [572, 572, 336])
        #expect(bench.right.packets.map { $0.bytes.span.loadUInt16(at: 6) } == [0x2000, 0x2045, 0x008a])
        #expect(bench.right.packets.flatMap { $0.bytes[20...] } == packet.bytes[20...].map { $0 })
    }

    @Test func othersThanTCPPass() throws {
        let bench = try Bench(
            toRight: "strip-eno=syn clear-options split=9 coalesce renumber clamp-mss=99 strip-mptcp=all")
        var packet = bench.segment()
        packet.bytes[9] = 17
        bench.send(packet)
        bench.send(WirePacket([]))
        bench.send(WirePacket([0x45]))
        #expect(bench.right.packets.map(\.bytes) == [packet.bytes, [], [0x45]])
    }
}
