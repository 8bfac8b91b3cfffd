import FlowEngine

/// Carries out what the engine wants, in its order.
struct ActionExecutor<Kernel: PacketKernel & ~Copyable>: ~Copyable {
    var kernel: Kernel
    let journal: CrashJournal
    let events: EventLog
    /// Verdicts for packets that were not pending: a fault of ours, never passed on.
    private(set) var strayVerdicts: UInt64 = 0

    private let marks: MarkBits
    /// Of the few queues a worker serves: to look for one is cheaper than to hash its number.
    private var pending: [(queue: UInt16, marks: PendingMarks)] = []

    init(kernel: consuming Kernel, journal: CrashJournal, events: EventLog, marks: MarkBits) {
        self.kernel = kernel
        self.journal = journal
        self.events = events
        self.marks = marks
    }

    /// Packets whose verdict is pending.
    var pendingCount: Int { pending.reduce(0) { $0 + $1.marks.count } }

    /// A packet's mark without our bits: what routing has seen of it.
    func foreign(_ mark: UInt32) -> UInt32 { marks.foreign(mark) }

    /// Whether the rules know an outbound packet's connection as encrypted.
    func isEncrypted(_ mark: UInt32) -> Bool { mark & marks.encrypted != 0 }

    /// Notes a packet before the engine sees it.
    mutating func expect(_ id: PacketID, mark: UInt32, _ direction: Direction) {
        let mark = PendingMark(mark: mark, direction: direction)
        if let index = place(of: id.queue) { return pending[index].marks.insert(id.number, mark: mark) }
        var marks = PendingMarks()
        marks.insert(id.number, mark: mark)
        pending.append((id.queue, marks))
    }

    private func place(of queue: UInt16) -> Int? {
        for index in pending.indices where pending[index].queue == queue { return index }
        return nil
    }

    /// - Parameter bytes: what the ranges in `actions` index.
    mutating func execute(_ actions: [Action], _ bytes: Span<UInt8>) {
        for action in actions {
            switch action {
            case .accept(let id, let mark): accept(id, mark)
            case .replace(let id, let range, let mark): replace(id, bytes, range, mark)
            case .drop(let id): drop(id)
            case .inject(let range, let egress): inject(bytes, range, egress)
            case .injectLocal(let range):
                guard isInside(range, bytes) else { continue }
                kernel.injectLocally(bytes.extracting(range))
            case .destroySocket(let tuple): kernel.destroySocket(tuple)
            case .journalAdd(let flow): remember(flow)
            case .journalRemove(let tuple): journal.remove(tuple)
            case .inquire(let inquiry): kernel.inquire(inquiry)
            case .log(let event): events.log(event)
            }
        }
    }
}

extension ActionExecutor where Kernel: ~Copyable {
    private mutating func accept(_ id: PacketID, _ mark: FlowMark) {
        guard let old = take(id) else { return }
        kernel.accept(id, mark: marks.verdict(old.mark, mark, old.direction))
    }

    private mutating func replace(_ id: PacketID, _ bytes: Span<UInt8>, _ range: Range<Int>, _ mark: FlowMark) {
        guard let old = take(id) else { return }
        guard isInside(range, bytes) else { return kernel.drop(id) }
        kernel.replace(id, with: bytes.extracting(range), mark: marks.verdict(old.mark, mark, old.direction))
    }

    private mutating func drop(_ id: PacketID) {
        if take(id) != nil { kernel.drop(id) }
    }

    private mutating func inject(_ bytes: Span<UInt8>, _ range: Range<Int>, _ egress: Egress) {
        guard isInside(range, bytes) else { return }
        kernel.inject(bytes.extracting(range), mark: marks.foreign(egress.mark), interface: egress.interface)
    }

    private func remember(_ flow: CondemnedFlow) {
        if !journal.add(flow) { events.journalFull(flow.tuple) }
    }

    private func isInside(_ range: Range<Int>, _ bytes: Span<UInt8>) -> Bool {
        range.lowerBound >= 0 && range.upperBound <= bytes.count && !range.isEmpty
    }

    /// The mark of a pending packet, once.
    private mutating func take(_ id: PacketID) -> PendingMark? {
        let mark = place(of: id.queue).flatMap { pending[$0].marks.remove(id.number) }
        if mark == nil { strayVerdicts &+= 1 }
        return mark
    }
}
