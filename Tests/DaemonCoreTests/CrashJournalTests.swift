import FlowEngine
import Glibc
import PacketWire
import Testing

@testable import DaemonCore

/// A journal outlives its writer at any moment and trusts nothing it finds.
@Suite struct CrashJournalTests {
    private let file = TemporaryFile()

    private func flow(_ number: UInt16, keys: MPTCPKeys? = nil, isIPv6: Bool = false) -> CondemnedFlow {
        let address = { (last: UInt32) in
            isIPv6
                ? IPAddress(ipv6High: 0x2001_0db8_0000_0000, low: UInt64(last)) : IPAddress(ipv4: 0xc000_0200 | last)
        }
        let tuple = FlowTuple(
            local: Endpoint(address: address(1), port: number), remote: Endpoint(address: address(2), port: 443))
        return CondemnedFlow(tuple: tuple, keys: keys)
    }

    private func open(_ capacity: Int = 8) throws -> CrashJournal {
        try CrashJournal(path: file.path, capacity: capacity)
    }

    @Test func remembersFlowsAndKeysAcrossADeath() throws {
        let keys = MPTCPKeys(local: 0x0102_0304_0506_0708, remote: .max)
        do {
            let journal = try open()
            #expect(journal.condemned.isEmpty)
            #expect(journal.add(flow(1)))
            #expect(journal.add(flow(2, isIPv6: true)))
            #expect(journal.add(flow(2, keys: keys, isIPv6: true)))
            #expect(journal.add(flow(3)))
            journal.remove(flow(3).tuple)
        }
        let journal = try open()
        #expect(Set(journal.condemned) == [flow(1), flow(2, keys: keys, isIPv6: true)])
        #expect(journal.damaged == 0)
    }

    @Test func learnsKeysOnceAndKeepsThem() throws {
        let keys = MPTCPKeys(local: 1, remote: 2)
        do {
            let journal = try open()
            _ = journal.add(flow(1, keys: keys))
            _ = journal.add(flow(1))
        }
        #expect(try open().condemned == [flow(1, keys: keys)])
    }

    @Test func refusesWhenFullAndReusesSlots() throws {
        let journal = try open(2)
        #expect(journal.add(flow(1)))
        #expect(journal.add(flow(2)))
        #expect(!journal.add(flow(3)))
        journal.remove(flow(1).tuple)
        #expect(journal.add(flow(3)))
        #expect(journal.count == 2)
    }

    /// Workers write to it at the same time.
    @Test func severalWritersDoNotMeet() async throws {
        let journal = try open(400)
        let flows: [[CondemnedFlow]] = (0..<4).map { writer in
            let first = UInt16(100 * writer)
            return (first..<first + 100).map { flow($0, isIPv6: writer == 1) }
        }
        await withTaskGroup(of: Void.self) { group in
            for mine in flows {
                group.addTask {
                    for _ in 0..<20 {
                        for flow in mine { _ = journal.add(flow) }
                        for flow in mine.dropFirst() { journal.remove(flow.tuple) }
                    }
                }
            }
        }
        #expect(Set(journal.tuples) == Set(flows.compactMap { $0.first?.tuple }))
        #expect(try Set(open(400).condemned) == Set(flows.compactMap { $0.first }))
    }

    @Test func garbageIsNoFlow() throws {
        file.write((0..<640).map { UInt8(truncatingIfNeeded: $0 &* 37 &+ 11) })
        let journal = try open(20)
        #expect(journal.condemned.isEmpty)
        #expect(journal.damaged > 0)
        for number: UInt16 in 0..<20 { #expect(journal.add(flow(number))) }
    }

    @Test func everyTruncationKeepsWholeSlots() throws {
        var bytes: [UInt8] = []
        for number: UInt16 in 0..<4 { bytes += JournalSlot.encode(flow(number)) }
        for length in stride(from: 0, through: bytes.count, by: 7) {
            file.write(Array(bytes[0..<length]))
            // A slot that lost only its last bytes may still tell its flow.
            let whole = length / JournalSlot.size
            #expect((whole...whole + 1).contains(try open(4).condemned.count))
        }
    }

    @Test func aChangedByteCostsAtMostThatSlot() throws {
        let keyed = flow(1, keys: MPTCPKeys(local: 5, remote: 6))
        let bytes = JournalSlot.encode(keyed)
        for index in bytes.indices {
            var changed = bytes
            changed[index] ^= 0x41
            guard let found = JournalSlot.decode(changed) else { continue }
            #expect(found.tuple == keyed.tuple)
            #expect(found.keys == nil || found.keys == keyed.keys)
        }
    }

    @Test func theSameFlowTwiceCountsOnce() throws {
        file.write(JournalSlot.encode(flow(1)) + JournalSlot.encode(flow(1)))
        let journal = try open()
        #expect(journal.condemned == [flow(1)])
        #expect(journal.damaged == 1)
    }

    @Test func keepsFlowsBeyondASmallerCapacity() throws {
        do {
            let journal = try open(16)
            for number: UInt16 in 0..<16 { _ = journal.add(flow(number)) }
        }
        #expect(try open(1).condemned.count == 16)
    }

    @Test func isReadableByItsOwnerOnlyAndLeavesNothing() throws {
        let journal = try open()
        #expect(file.mode == 0o600)
        _ = journal.add(flow(1))
        journal.deleteIfEmpty()
        #expect(file.exists)
        journal.remove(flow(1).tuple)
        journal.deleteIfEmpty()
        #expect(!file.exists)
    }
}
