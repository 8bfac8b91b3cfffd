import FlowEngine
import Foundation
import OpenSSLProvider
import PacketWire
import Tcpcrypt
import Testing

private func residentMegabytes() -> Int {
    let text = (try? String(contentsOfFile: "/proc/self/statm", encoding: .utf8)) ?? ""
    let pages = text.split(separator: " ").dropFirst().first.flatMap { Int($0) } ?? 0
    return pages * 4096 / 1_048_576
}

/// What strangers may cost.
@Suite(.serialized) struct ResourceTests {
    private func syn(_ port: UInt16, _ sequence: UInt32) -> [UInt8] {
        TestSegment(
            source: Endpoint(address: stranger.address, port: port),
            destination: Endpoint(address: IPAddress(ipv4: 0x0a00_0002), port: 80), sequence: sequence, flags: .syn,
            options: mss + [69, 3, 0x23]
        ).bytes
    }

    /// The queue of deadlines keeps replaced flows for 140 s each, beyond any limit of the table.
    @Test func repeatedSYNsDoNotPileUp() {
        let host = TestHost(seed: 1) { $0.maximumFlows = 1000 }
        let before = residentMegabytes()
        var number: UInt32 = 0
        for sequence in 0..<100_000 as Range<UInt32> {
            number += 1
            host.engine.receive(
                syn(9, sequence &* 7).span,
                PacketMetadata(id: PacketID(queue: 1, number: number), direction: .inbound, mtu: 1500), now: host.now,
                into: &host.output)
            host.output.reset()
        }
        let grown = residentMegabytes() - before
        print("100000 SYNs of one tuple: \(grown) MB")
        #expect(grown < 30)
    }

    /// SYNs to closed ports: the kernel's reset ends each at once, the engine keeps it for 140 s.
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
}
