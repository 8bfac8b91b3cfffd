import PacketWire
import TestSupport
import Testing

@testable import FlowEngine

/// ICMP errors about an encrypted flow, and what a flow does on a path that has become narrow.
@Suite struct ErrorTranslationTests {
    private let pair = Pair()
    private let router = IPAddress(ipv4: 0x0a00_00fe)
    private var client: TestHost { pair.client }

    init() {
        pair.connect()
        _ = pair.client.takeKernel()
    }

    /// Sends `count` bytes from K sequence number `seq`, which the network swallows; returns the packets.
    private func lose(_ seq: UInt32, count: Int, isGSO: Bool = false) -> [[UInt8]] {
        let segment = TestSegment(
            source: pair.a, destination: pair.b, sequence: seq, acknowledgment: 5001, flags: .ack,
            payload: [UInt8](repeating: 7, count: count))
        client.feed(segment.bytes, .outbound, isGSO: isGSO)
        return client.takeWire()
    }

    /// What the kernel sees of an error.
    private func arrive(_ bytes: [UInt8]) -> ICMPError? {
        client.toKernel = []
        client.feed(bytes, .inbound)
        guard let seen = client.toKernel.first, let error = ICMPError(parsing: seen.span) else { return nil }
        let isValid = error.hasValidChecksum(in: seen.span)
        #expect(isValid)
        return error
    }

    @Test func theKernelReadsItsOwnNumbers() throws {
        let packets = lose(1001, count: 1400) + lose(2401, count: 1400)
        let last = try #require(packets.last)
        // Init1 and a frame's overhead have moved it.
        let wire = try #require(Seen(last)).sequence
        #expect(wire != 2401)
        let error = try #require(arrive(ICMPBuilder.tooBig(last, mtu: 1280, from: router)))
        #expect(error.sequence == SequenceNumber(2401) && error.mtu == 1260)
        #expect(client.engine.counters.icmpTranslated == 1)
        #expect(client.actions.last?.isUnchanged == true)
        // Every other error is translated too, its four bytes untouched.
        let other = try #require(arrive(ICMPBuilder.error(3, 1, rest: 1280, about: last, from: router)))
        #expect(other.sequence == SequenceNumber(2401) && other.mtu == nil)
    }

    @Test func whatIsNotUnderWayIsNotTold() throws {
        let packet = try #require(lose(1001, count: 1400).first)
        let wire = try #require(Seen(packet)).sequence
        for distance in [-300_000, -1, 1440, 300_000] {
            var forged = packet
            let guess = SequenceNumber(wire) + distance
            for (index, shift) in [24, 16, 8, 0].enumerated() {
                forged[24 + index] = UInt8(truncatingIfNeeded: guess.rawValue >> UInt32(shift))
            }
            let isInside = distance == -1 ? false : (0...1420).contains(distance)
            #expect((arrive(ICMPBuilder.tooBig(forged, mtu: 1280, from: router)) != nil) == isInside)
        }
        #expect(client.engine.host.paths.count == 0)
        // Acknowledged in the meantime.
        client.feed(packet, .outbound)
        #expect(arrive(ICMPBuilder.tooBig(packet, mtu: 1280, from: router)) != nil)
    }

    @Test func damagedOnesAreDropped() throws {
        let packet = try #require(lose(1001, count: 1400).first)
        var bytes = ICMPBuilder.tooBig(packet, mtu: 1280, from: router)
        bytes[60] ^= 1
        #expect(arrive(bytes) == nil && client.toKernel.isEmpty && client.held == 0)
        #expect(client.engine.counters.malformed == 1)
    }

    /// What is not about an encrypted flow passes as it is, each with one verdict.
    @Test func theRestIsTheKernels() throws {
        let packet = try #require(lose(1001, count: 1400).first)
        var elsewhere = packet
        elsewhere[23] = 99
        var udp = packet
        udp[9] = 17
        let quotes = [elsewhere, udp, Array(packet.prefix(27))]
        for quote in quotes {
            let bytes = ICMPBuilder.tooBig(quote, mtu: 1280, from: router)
            client.toKernel = []
            client.feed(bytes, .inbound)
            #expect(client.toKernel == [bytes])
        }
        let echo = ICMPBuilder.wrap([8, 0, 0, 0, 1, 2, 3, 4], from: router, to: pair.a.address)
        client.feed(echo, .inbound)
        #expect(client.toKernel.last == echo && client.held == 0)
        // Outbound, nobody queues it; it is not ours to send.
        client.feed(echo, .outbound)
        #expect(client.takeWire().isEmpty)
    }

    /// The kernel sends packets of 1260 bytes, and lets none leave that is longer. Injected they go whole.
    @Test func oneSegmentIsOnePacket() throws {
        let packet = try #require(lose(1001, count: 1400).first)
        _ = arrive(ICMPBuilder.tooBig(packet, mtu: 1280, from: router))
        for route in [1500, 1260] {
            client.mtu = route
            // The beginning of a frame that was longer; a frame.
            #expect(lose(1001, count: 1220).map(\.count) == [1264])
            #expect(lose(2401, count: 1220).map(\.count) == [1280])
            #expect(client.actions.last.map(isInjection) == true)
            _ = lose(3621, count: 1220)
            pair.wire = []
        }
        // What the kernel cut before it knew.
        #expect(lose(4841, count: 1400).map(\.count) == [1260, 40 + 1440 - 1220])
        #expect(lose(6241, count: 100).map(\.count) == [160])
    }

    private func isInjection(_ action: Action) -> Bool {
        if case .inject = action { return true }
        return false
    }

    /// A super-packet longer than one segment of the kernel's goes by verdict, however short its segments are by now.
    @Test func shortSuperPackets() throws {
        let packets = lose(1001, count: 1100, isGSO: true)
        #expect(packets.map(\.count) == [40 + 1120])
        guard case .replace = client.actions.last else {
            Issue.record("injected whole: \(client.actions.suffix(2))")
            return
        }
    }

    /// A kernel that tries how long its segments may be gets none lengthened: not after a loss either, when super-packets are
    /// else cut here into segments of the longest kind.
    @Test(arguments: [false, true]) func probingKernels(_ probes: Bool) {
        client.engine.kernelProbesPaths = probes
        _ = lose(1001, count: 1000)
        _ = lose(1001, count: 1000)
        let packets = lose(1001, count: 3000, isGSO: true)
        // With the first frame as it was, and one for what is new of each segment.
        #expect(packets.count == (probes ? 1 : 3))
    }

    /// A new connection on a path known to be narrow leaves room from the beginning, and offers all that the path takes.
    @Test func newConnections() throws {
        let packet = try #require(lose(1001, count: 1400).first)
        _ = arrive(ICMPBuilder.tooBig(packet, mtu: 1280, from: router))
        client.mtu = 1260
        let next = Pair(port: 40_001, client: client, server: pair.server)
        // The kernel offers what its route takes.
        next.clientSends(1000, 0, .syn, [2, 4, 0x04, 0xc4])
        let syn = try #require(client.takeWire().compactMap { Seen($0) }.last)
        #expect(syn.options.maximumSegmentSize == 1240)
        next.server.feed(syn.raw, .inbound)
        next.serverSends(5000, 1001, [.syn, .ack], [2, 4, 5, 180])
        _ = client.takeKernel()
        client.mtu = 1500
        next.settle()
        #expect(client.takeKernel().last?.options.maximumSegmentSize == 1220)
    }
}

extension Action {
    /// Other bytes, and the mark of the connection stays.
    fileprivate var isUnchanged: Bool {
        if case .replace(_, _, .unchanged) = self { return true }
        return false
    }
}
