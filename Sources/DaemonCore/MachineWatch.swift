import NetfilterQueue

/// Notices that this machine may exist twice: it went on from a snapshot, and what was secret then is secret no more to its other copies.
struct MachineWatch: ~Copyable {
    private let events: MachineEvents
    private let clock: MachineClock
    private var marker: UInt64

    /// - Parameter clockPath: of the hypervisor's clock device, which need not exist.
    init(clockPath: String) throws(SystemCallError) {
        events = try MachineEvents()
        clock = MachineClock(path: clockPath)
        marker = clock.disruptionMarker
    }

    var fileDescriptor: Int32 { events.fileDescriptor }

    /// Whether that happened since the last call. To be asked before packets are taken: it costs a look at memory.
    ///
    /// - Parameter hasNews: whether the descriptor can be read.
    mutating func isCopied(hasNews: Bool) -> Bool {
        let current = clock.disruptionMarker
        let isDisrupted = current != marker
        marker = current
        return (hasNews && events.isNewGeneration()) || isDisrupted
    }
}
