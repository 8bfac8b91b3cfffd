import OpenSSLProvider
import PacketWire
import Tables
import Tcpcrypt
import Testing

@testable import FlowEngine

/// What strangers may cost.
@Suite(.serialized) struct ResourceTests {
    private func syn(_ port: UInt16, _ sequence: UInt32) -> [UInt8] {
        TestSegment(
            source: Endpoint(address: stranger.address, port: port),
            destination: Endpoint(address: IPAddress(ipv4: 0x0a00_0002), port: 80), sequence: sequence, flags: .syn,
            options: mss + [69, 3, 0x23]
        ).bytes
    }

    /// Flows that are replaced take their deadlines with them.
    @Test func repeatedSYNsDoNotPileUp() {
        let host = TestHost(seed: 1) { $0.maximumFlows = 1000 }
        var number: UInt32 = 0
        for sequence in 0..<100_000 as Range<UInt32> {
            number += 1
            host.engine.receive(
                syn(9, sequence &* 7).span,
                PacketMetadata(id: PacketID(queue: 1, number: number), direction: .inbound, mtu: 1500), now: host.now,
                into: &host.output)
            host.output.reset()
        }
        #expect(host.engine.deadlines.count == 1)
    }

    /// SYNs to closed ports: the kernel's reset ends each at once.
    @Test func refusedConnectionsLeaveTheTable() {
        let host = TestHost(seed: 1) { $0.maximumFlows = 100 }
        let here = Endpoint(address: IPAddress(ipv4: 0x0a00_0002), port: 80)
        for port in 1...100 as ClosedRange<UInt16> {
            host.feed(syn(port, 1), .inbound)
            host.leave(here, Endpoint(address: stranger.address, port: port), 0, 2, [.rst, .ack])
        }
        host.advance(milliseconds: 10_000)
        _ = host.takeWire()
        host.leave(Endpoint(address: here.address, port: 50_000), stranger, 1, 0, .syn, mss)
        #expect(host.takeSeen().last?.hasENO == true)
    }

    /// A full table of half-open connections: the oldest makes way, and its opener, should it come after all, is refused.
    @Test func halfOpenConnectionsMakeWay() {
        let host = TestHost(seed: 1) { $0.maximumFlows = 100 }
        let here = Endpoint(address: IPAddress(ipv4: 0x0a00_0002), port: 80)
        for port in 1...100 as ClosedRange<UInt16> {
            let there = Endpoint(address: stranger.address, port: port)
            host.feed(syn(port, 1), .inbound)
            host.leave(here, there, 5000, 2, [.syn, .ack], mss)
        }
        _ = host.takeWire()
        _ = host.takeKernel()
        host.leave(Endpoint(address: here.address, port: 50_000), stranger, 1, 0, .syn, mss)
        #expect(host.takeSeen().last?.hasENO == true)
        host.arrive(Endpoint(address: stranger.address, port: 1), here, 2, 5001, [.ack, .psh], [69, 2], [1, 2, 3])
        #expect(host.takeKernel().isEmpty)
        #expect(host.takeSeen().last?.packet.flags.contains(.rst) == true)
        host.arrive(Endpoint(address: stranger.address, port: 2), here, 2, 5001, .ack, [69, 2])
        #expect(!host.takeKernel().isEmpty)
    }

    /// Connections that have ended are remembered for as long as TIME-WAIT lasts, without what they carried, and then no longer,
    /// whichever end had the last word.
    @Test func finishedConnectionsKeepLittle() throws {
        let pair = Pair()
        Self.exchange(pair)
        for host in [pair.client, pair.server] {
            let flow = try #require(host.engine.flows.values.first)
            #expect(flow.isFinished && flow.send.ciphertext.capacity == 0 && flow.receive.plaintext.capacity == 0)
            host.advance(milliseconds: 80_000)
            #expect(host.engine.flows.isEmpty)
        }
    }

    /// Opens a connection, sends something each way, and closes it.
    private static func exchange(_ pair: Pair) {
        pair.connect()
        pair.clientSends(1001, 5001, [.ack, .psh], [], [UInt8](repeating: 1, count: 1000))
        pair.settle()
        pair.serverSends(5001, 2001, [.ack, .psh, .fin], [], [UInt8](repeating: 2, count: 1000))
        pair.settle()
        pair.clientSends(2001, 6002, [.ack, .fin])
        pair.settle()
        pair.serverSends(6002, 2002, .ack)
        pair.settle()
    }

    /// A kernel that has not heard that its FIN arrived repeats it.
    @Test func aFINRepeatedAfterTheEndPasses() throws {
        let pair = Pair()
        Self.exchange(pair)
        pair.clientSends(2001, 6002, [.ack, .fin])
        #expect(pair.client.held == 0)
        let forged = try #require(pair.wire.last { $0.payload.count > 100 })
        pair.client.feed(forged.raw, .inbound)
        #expect(
            pair.client.held == 0
                && !pair.client.actions.contains { if case .destroySocket = $0 { true } else { false } })
    }

    /// Short connections, one after the other, find a place in a table that those that have ended would fill.
    @Test func finishedConnectionsMakeWay() throws {
        let client = TestHost(seed: 1) { $0.maximumFlows = 40 }
        let server = TestHost(seed: 2) { $0.maximumFlows = 40 }
        for index in 0..<200 {
            Self.exchange(Pair(port: 40_000 + UInt16(index), client: client, server: server))
            for host in [client, server] { #expect(host.engine.flows.count <= 40) }
        }
        let counters = client.engine.counters
        #expect(counters.fallbacks == 0 && counters.freshHandshakes + counters.resumptions == 200)
        // What still comes of those that made way is refused.
        let pair = Pair(client: client, server: server)
        pair.serverSends(6002, 2002, .ack)
        #expect(
            server.actions.contains { if case .destroySocket(let tuple) = $0 { tuple.remote == pair.a } else { false } }
        )
    }
}
