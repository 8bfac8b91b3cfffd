import FlowEngine

/// What the executor of actions asks of the kernel. Tests put a recorder in its place.
///
/// Nothing here throws: what fails for one packet is counted and logged, and TCP repeats it.
protocol PacketKernel: ~Copyable {
    /// Lets a queued packet pass, with its mark replaced.
    mutating func accept(_ id: PacketID, mark: UInt32)
    /// Lets `packet` pass in its place.
    mutating func replace(_ id: PacketID, with packet: Span<UInt8>, mark: UInt32)
    mutating func drop(_ id: PacketID)
    /// Sends a packet to the network by the given mark and device.
    mutating func inject(_ packet: Span<UInt8>, mark: UInt32, interface: UInt32)
    /// Hands a packet to the local stack.
    mutating func injectLocally(_ packet: Span<UInt8>)
    mutating func destroySocket(_ tuple: FlowTuple)
    /// Notes that the kernel is to be asked to which MPTCP connection a join of its own belongs.
    mutating func inquire(_ inquiry: JoinInquiry)
    /// Lets all verdicts so far take effect.
    mutating func flush()
}
