public import FlowEngine
import Glibc
public import NetfilterQueue
import Synchronization

/// Remembers which flows may carry ciphertext, so that a daemon started after a crash resets them.
///
/// Addresses, ports and MPTCP keys (which travelled in clear) only: no secret of ours reaches a file. All workers share it; each
/// writes at the beginning and the end of a connection only.
public final class CrashJournal: Sendable {
    /// The flows an earlier daemon left, in no order.
    public let condemned: [CondemnedFlow]
    /// Slots that held something unreadable; they were freed.
    public let damaged: Int
    public var count: Int { entries.withLock { $0.index.count } }
    /// The flows it holds now.
    public var tuples: [FlowTuple] { entries.withLock { Array($0.index.keys) } }

    private let path: String
    private let entries: Mutex<Entries>

    private struct Entries: ~Copyable {
        let file: JournalFile
        var index: [FlowTuple: Int32] = [:]
        var free: [Int32] = []
    }

    /// - Parameter capacity: flows it can hold at least.
    public init(path: String, capacity: Int) throws(SystemCallError) {
        self.path = path
        var entries = Entries(file: try JournalFile(path: path, minimumSlots: capacity))
        var found: [CondemnedFlow] = []
        var damaged = 0
        // Room for all: to make more later would take long, and all workers would wait.
        entries.index.reserveCapacity(entries.file.slots)
        entries.free.reserveCapacity(entries.file.slots)
        // Backwards, so that low slots are used first.
        for slot in (0..<entries.file.slots).reversed() {
            if entries.file.isFree(slot) {
                entries.free.append(Int32(slot))
            } else if let flow = JournalSlot.decode(entries.file.read(slot)), entries.index[flow.tuple] == nil {
                entries.index[flow.tuple] = Int32(slot)
                found.append(flow)
            } else {
                damaged += 1
                entries.file.free(slot)
                entries.free.append(Int32(slot))
            }
        }
        condemned = found
        self.damaged = damaged
        self.entries = Mutex(entries)
    }

    /// Remembers a flow, or its keys if it is known.
    /// - Returns: false when the journal is full.
    public func add(_ flow: CondemnedFlow) -> Bool {
        entries.withLock { entries in
            if let slot = entries.index[flow.tuple] {
                if flow.keys != nil { entries.file.writeKeys(Int(slot), JournalSlot.encode(flow)) }
                return true
            }
            guard let slot = entries.free.popLast() else { return false }
            entries.index[flow.tuple] = slot
            entries.file.write(Int(slot), JournalSlot.encode(flow))
            return true
        }
    }

    public func remove(_ tuple: FlowTuple) {
        entries.withLock { entries in
            guard let slot = entries.index.removeValue(forKey: tuple) else { return }
            entries.file.free(Int(slot))
            entries.free.append(slot)
        }
    }

    /// Deletes the file if no flow is left in it: after a clean stop nothing stays behind.
    public func deleteIfEmpty() {
        if count == 0 { unsafe _ = unlink(path) }
    }
}
