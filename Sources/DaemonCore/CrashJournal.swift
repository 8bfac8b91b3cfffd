public import FlowEngine
import Glibc
public import NetfilterQueue

/// Remembers which flows may carry ciphertext, so that a daemon started after a crash resets them.
///
/// Addresses, ports and MPTCP keys (which travelled in clear) only: no secret of ours reaches a file.
public final class CrashJournal {
    /// The flows an earlier daemon left, in no order.
    public let condemned: [CondemnedFlow]
    /// Slots that held something unreadable; they were freed.
    public let damaged: Int
    public var count: Int { index.count }

    private let path: String
    private let file: JournalFile
    private var index: [FlowTuple: Int32] = [:]
    private var free: [Int32] = []

    /// - Parameter capacity: flows it can hold at least.
    public init(path: String, capacity: Int) throws(SystemCallError) {
        self.path = path
        file = try JournalFile(path: path, minimumSlots: capacity)
        var found: [CondemnedFlow] = []
        var damaged = 0
        // Backwards, so that low slots are used first.
        for slot in (0..<file.slots).reversed() {
            if file.isFree(slot) {
                free.append(Int32(slot))
            } else if let flow = JournalSlot.decode(file.read(slot)), index[flow.tuple] == nil {
                index[flow.tuple] = Int32(slot)
                found.append(flow)
            } else {
                damaged += 1
                file.free(slot)
                free.append(Int32(slot))
            }
        }
        condemned = found
        self.damaged = damaged
    }

    /// Remembers a flow, or its keys if it is known.
    /// - Returns: false when the journal is full.
    public func add(_ flow: CondemnedFlow) -> Bool {
        if let slot = index[flow.tuple] {
            if flow.keys != nil { file.writeKeys(Int(slot), JournalSlot.encode(flow)) }
            return true
        }
        guard let slot = free.popLast() else { return false }
        index[flow.tuple] = slot
        file.write(Int(slot), JournalSlot.encode(flow))
        return true
    }

    public func remove(_ tuple: FlowTuple) {
        guard let slot = index.removeValue(forKey: tuple) else { return }
        file.free(Int(slot))
        free.append(slot)
    }

    /// Deletes the file if no flow is left in it: after a clean stop nothing stays behind.
    public func deleteIfEmpty() {
        if index.isEmpty { unsafe _ = unlink(path) }
    }
}
