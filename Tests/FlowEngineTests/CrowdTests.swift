import PacketWire
import Tables
import Tcpcrypt
import Testing

@testable import FlowEngine

/// Where there is much to do, packets go between.
@Suite struct CrowdTests {
    private static let crowd = 5000
    private let here = Endpoint(address: IPAddress(ipv4: 0x0a00_0002), port: 80)

    private func there(_ number: Int) -> Endpoint {
        Endpoint(address: IPAddress(ipv4: 0x0a01_0000 + UInt32(number)), port: 1000)
    }

    /// A host that waits for so many third ACKs.
    private func crowded() -> TestHost {
        let host = TestHost(seed: 1)
        for number in 0..<Self.crowd { host.arrive(there(number), here, 1, 0, .syn, [2, 4, 5, 180, 69, 3, 0x23]) }
        _ = host.takeKernel()
        return host
    }

    /// Whoever has no socket is forgotten, and nobody else, although the table changes between the parts.
    @Test func socketsAreComparedInParts() {
        let host = crowded()
        let sockets = Set((0..<Self.crowd).filter { $0 % 2 == 0 }.map { FlowTuple(local: here, remote: there($0)) })
        host.now = host.now.adding(milliseconds: 70_000)
        host.engine.reconcile(sockets: sockets, now: host.now, into: &host.output)
        #expect(host.engine.flows.count > Self.crowd / 2 + 1000)
        #expect(host.engine.nextDeadline.map { $0 <= host.now } == true)
        // One that the survey does not know, for it began later; one that has no socket, but speaks again.
        host.arrive(there(Self.crowd), here, 1, 0, .syn, [2, 4, 5, 180, 69, 3, 0x23])
        for _ in 0..<10 { host.advance(milliseconds: 1) }
        #expect(host.engine.flows.count == Self.crowd / 2 + 1)
        #expect(sockets.allSatisfy { host.engine.flows[$0] != nil })
        #expect(host.engine.nextDeadline.map { $0 > host.now } == true)
    }

    @Test func connectionsAreListedInParts() {
        let host = crowded()
        var place = ReportPlace()
        var parts: [[ConnectionReport]] = []
        while !place.isEnd { parts.append(host.engine.connections(from: &place)) }
        #expect(parts.count > 3 && parts.allSatisfy { $0.count < 1500 })
        let all = ConnectionReport.merged(Array(parts.joined()))
        #expect(all.count == Self.crowd && all == host.engine.connections())
        #expect(host.engine.flowCounts[.handshake] == Self.crowd)
    }

    /// Connections of MPTCP that nobody has joined again are forgotten in parts.
    @Test func emptyConnectionsExpireInParts() {
        var tracker = MPTCPTracker()
        let start = Instant(nanoseconds: 0)
        for _ in 0..<1000 {
            let connection = MPTCPConnection(isOpener: true)
            connection.protection = .encrypted
            connection.subflows = 0
            tracker.noteEmpty(connection, now: start)
        }
        var parts = 1
        while tracker.expire(now: start.adding(milliseconds: 130_000), atMost: 100) { parts += 1 }
        #expect(parts == 10)
    }

    /// The earliest first, whatever is moved and taken out meanwhile.
    @Test func deadlinesComeInOrder() {
        let host = TestHost(seed: 1).engine.host
        let random = CountingRandom(7)
        var queue = DeadlineQueue()
        var model: [UInt64: Int64] = [:]
        let flows = (0..<500).map { number in
            Flow(
                host: host, id: FlowID(tuple: FlowTuple(local: here, remote: there(number)), serial: UInt64(number)),
                isOpener: true, now: Instant(nanoseconds: 0))
        }
        for _ in 0..<20_000 {
            let draw = random.bytes(4).map { Int($0) }
            let flow = flows[(draw[0] * 256 + draw[1]) % flows.count]
            if draw[2] % 4 == 0 {
                queue.remove(flow)
                model[flow.id.serial] = nil
            } else {
                queue.set(flow, at: Instant(nanoseconds: Int64(draw[3])))
                model[flow.id.serial] = Int64(draw[3])
            }
            #expect(queue.count == model.count && queue.first?.nanoseconds == model.values.min())
        }
        var latest: Int64 = 0
        while let flow = queue.popFirst(Instant(nanoseconds: 200)) {
            let at = model.removeValue(forKey: flow.id.serial) ?? -1
            #expect(at >= latest && at <= 200)
            latest = at
        }
        #expect(queue.count == model.count && model.values.allSatisfy { $0 > 200 })
    }
}
