import FlowEngine

/// What the verdict of a packet is made from.
struct PendingMark: Equatable {
    var mark: UInt32 = 0
    var direction = Direction.inbound
}

/// The packet marks of the packets of one queue whose verdict is pending, by packet number.
///
/// The kernel numbers the packets of a queue one after the other, so a ring finds nearly all at once; a packet held
/// for a whole turn of the ring moves to a dictionary.
struct PendingMarks {
    private struct Slot {
        var number: UInt32 = 0
        var mark = PendingMark()
        var isPending = false
    }

    private var ring: [Slot]
    private var old: [UInt32: PendingMark] = [:]
    private(set) var count = 0

    /// - Parameter capacity: rounded up to a power of two.
    init(capacity: Int = 32_768) {
        var size = 1
        while size < capacity { size *= 2 }
        ring = [Slot](repeating: Slot(), count: size)
    }

    mutating func insert(_ number: UInt32, mark: PendingMark) {
        let index = Int(number) & (ring.count - 1)
        let previous = ring[index]
        if previous.isPending {
            if previous.number == number { count -= 1 } else { old[previous.number] = previous.mark }
        }
        ring[index] = Slot(number: number, mark: mark, isPending: true)
        count += 1
    }

    /// The mark of packet `number`, which is pending no more; nil if it was not.
    mutating func remove(_ number: UInt32) -> PendingMark? {
        let index = Int(number) & (ring.count - 1)
        if ring[index].isPending, ring[index].number == number {
            ring[index].isPending = false
            count -= 1
            return ring[index].mark
        }
        guard let mark = old.removeValue(forKey: number) else { return nil }
        count -= 1
        return mark
    }
}
