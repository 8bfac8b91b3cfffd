import PacketWire
import Testing

@testable import FlowEngine

/// Flows that were encrypted when an earlier daemon died.
@Suite struct CondemnedTests {
    private static let here = Endpoint(address: IPAddress(ipv4: 0x0a00_0002), port: 80)
    private static let there = Endpoint(address: IPAddress(ipv4: 0x0a00_0009), port: 7)

    private static func tuples(_ count: Int) -> [FlowTuple] {
        (0..<count).map {
            let address = IPAddress(ipv4: 0x0b00_0000 + UInt32($0 >> 8))
            return FlowTuple(local: here, remote: Endpoint(address: address, port: UInt16(1 + $0 & 0xff)))
        }
    }

    /// As many as there may be, without a burst of work.
    @Test func manyAreEndedLittleByLittle() {
        let tuples = Self.tuples(8_000)
        let host = TestHost(seed: 1)
        host.engine.condemn(tuples.map { CondemnedFlow(tuple: $0, keys: nil) }, now: host.now)
        var destroyed: [FlowTuple: Int] = [:]
        var most = 0
        while let next = host.engine.nextDeadline {
            host.actions = []
            host.advance(milliseconds: max(1, next.milliseconds(since: host.now)))
            let now = host.actions.compactMap { if case .destroySocket(let tuple) = $0 { tuple } else { nil } }
            for tuple in now { destroyed[tuple, default: 0] += 1 }
            most = max(most, now.count)
        }
        #expect(destroyed.count == tuples.count && destroyed.values.allSatisfy { $0 == 12 })
        #expect(most <= 20)
    }

    /// Where the socket cannot be destroyed, its packets are refused for as long as it is there.
    @Test func aFlowStaysCondemnedWhileItsSocketLives() {
        let tuple = FlowTuple(local: Self.here, remote: Self.there)
        let host = TestHost(seed: 1)
        host.engine.condemn([CondemnedFlow(tuple: tuple, keys: nil)], now: host.now)
        let survey = { (sockets: Set<FlowTuple>) in
            for _ in 0..<100 {
                host.advance(milliseconds: 10_000)
                host.engine.reconcile(sockets: sockets, now: host.now, into: &host.output)
                host.drain()
            }
            _ = host.takeWire()
            host.leave(Self.here, Self.there, 100, 200, [.ack, .psh], [], Array("secret".utf8))
            return host.takeSeen().contains { !$0.payload.isEmpty }
        }
        let leaks = survey([tuple])
        #expect(!leaks && !host.actions.contains(.journalRemove(tuple)))
        // Another's: the addresses are free.
        let passes = survey([])
        #expect(passes && host.actions.contains(.journalRemove(tuple)))
    }
}
