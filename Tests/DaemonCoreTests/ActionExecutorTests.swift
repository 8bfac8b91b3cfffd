import FlowEngine
import Logging
import PacketWire
import Testing

@testable import DaemonCore

/// The kernel as a list of what was asked of it.
struct RecordingKernel: PacketKernel, ~Copyable {
    enum Call: Equatable {
        case accept(UInt32, mark: UInt32)
        case replace(UInt32, [UInt8], mark: UInt32)
        case drop(UInt32)
        case inject([UInt8], mark: UInt32, interface: UInt32)
        case injectLocally([UInt8])
        case destroy(FlowTuple)
    }

    var calls: [Call] = []

    mutating func accept(_ id: PacketID, mark: UInt32) { calls.append(.accept(id.number, mark: mark)) }

    mutating func replace(_ id: PacketID, with packet: Span<UInt8>, mark: UInt32) {
        calls.append(.replace(id.number, packet.indices.map { packet[$0] }, mark: mark))
    }

    mutating func drop(_ id: PacketID) { calls.append(.drop(id.number)) }

    mutating func inject(_ packet: Span<UInt8>, mark: UInt32, interface: UInt32) {
        calls.append(.inject(packet.indices.map { packet[$0] }, mark: mark, interface: interface))
    }

    mutating func injectLocally(_ packet: Span<UInt8>) {
        calls.append(.injectLocally(packet.indices.map { packet[$0] }))
    }

    mutating func destroySocket(_ tuple: FlowTuple) { calls.append(.destroy(tuple)) }

    mutating func inquire(_ inquiry: JoinInquiry) {}

    mutating func flush() {}
}

@Suite struct ActionExecutorTests {
    private let file = TemporaryFile()
    private let bytes: [UInt8] = Array(0..<100)
    private let tuple = FlowTuple(
        local: Endpoint(address: IPAddress(ipv4: 1), port: 2), remote: Endpoint(address: IPAddress(ipv4: 3), port: 4))

    private func makeExecutor(
        _ packets: [(PacketID, UInt32)] = [], _ direction: Direction = .inbound
    ) throws -> ActionExecutor<RecordingKernel> {
        let events = EventLog(logger: Logger(label: "test") { _ in SwiftLogNoOpLogHandler() })
        let journal = try CrashJournal(path: file.path, capacity: 4)
        var executor = ActionExecutor(
            kernel: RecordingKernel(), journal: journal, events: events, marks: MarkBits())
        for (id, mark) in packets { executor.expect(id, mark: mark, direction) }
        return executor
    }

    private func id(_ number: UInt32, queue: UInt16 = 1) -> PacketID { PacketID(queue: queue, number: number) }

    @Test func verdictsCarryTheMergedMark() throws {
        var executor = try makeExecutor([(id(1), 0xff), (id(2), 0x7000_0001), (id(3), 0)])
        executor.execute([.accept(id(1), .plain), .replace(id(2), 4..<7, .encrypted), .drop(id(3))], bytes.span)
        #expect(
            executor.kernel.calls == [
                .accept(1, mark: 0x3000_00ff), .replace(2, [4, 5, 6], mark: 0x5000_0001), .drop(3),
            ])
        #expect(executor.pendingCount == 0)
    }

    /// A verdict that changes the mark of an outbound packet makes the kernel choose its route again.
    @Test func outboundPacketsKeepTheirMark() throws {
        var executor = try makeExecutor([(id(1), 0x1000_00ff), (id(2), 0x2000_0000), (id(3), 7)], .outbound)
        executor.execute(
            [.accept(id(1), .plain), .replace(id(2), 4..<7, .encrypted), .accept(id(3), .undecided)], bytes.span)
        #expect(
            executor.kernel.calls == [
                .accept(1, mark: 0x1000_00ff), .replace(2, [4, 5, 6], mark: 0x2000_0000), .accept(3, mark: 7),
            ])
    }

    @Test func aHeldPacketKeepsItsMarkUntilItsVerdict() throws {
        var executor = try makeExecutor([(id(1), 7), (id(2), 8)])
        executor.execute([.accept(id(2), .undecided)], bytes.span)
        #expect(executor.pendingCount == 1)
        executor.execute([.accept(id(1), .undecided)], bytes.span)
        #expect(executor.kernel.calls == [.accept(2, mark: 0x1000_0008), .accept(1, mark: 0x1000_0007)])
    }

    @Test func eachPacketHasOneVerdictAndQueuesAreApart() throws {
        var executor = try makeExecutor([(id(1), 0), (id(1, queue: 2), 5)])
        executor.execute([.drop(id(1)), .accept(id(1), .plain), .drop(id(9))], bytes.span)
        #expect(executor.kernel.calls == [.drop(1)])
        #expect(executor.strayVerdicts == 2)
        executor.execute([.accept(id(1, queue: 2), .undecided)], bytes.span)
        #expect(executor.kernel.calls.last == .accept(1, mark: 0x1000_0005))
    }

    @Test func injectionsFollowTheFlowWithoutOurBits() throws {
        var executor = try makeExecutor()
        executor.execute(
            [
                .inject(0..<3, Egress(mark: 0x7000_0042, interface: 6)), .injectLocal(10..<12),
                .destroySocket(tuple),
            ], bytes.span)
        #expect(
            executor.kernel.calls == [
                .inject([0, 1, 2], mark: 0x42, interface: 6), .injectLocally([10, 11]), .destroy(tuple),
            ])
    }

    @Test func rangesOutsideTheBytesReachNobody() throws {
        var executor = try makeExecutor([(id(1), 0)])
        executor.execute(
            [.replace(id(1), 90..<101, .encrypted), .inject(100..<101, Egress()), .injectLocal(5..<5)], bytes.span)
        #expect(executor.kernel.calls == [.drop(1)])
    }

    @Test func theJournalFollowsTheEngine() throws {
        var executor = try makeExecutor()
        executor.execute([.journalAdd(CondemnedFlow(tuple: tuple, keys: nil))], bytes.span)
        #expect(executor.journal.count == 1)
        executor.execute([.journalRemove(tuple)], bytes.span)
        #expect(executor.journal.count == 0)
    }
}
