public import FlowEngine

/// The bits of the packet mark that carry a verdict to the rules, which save two of them to the connection.
public struct MarkBits: Sendable, Hashable {
    /// The packet passed a live daemon.
    public var passed: UInt32
    /// The connection is ordinary TCP and leaves the queue.
    public var plain: UInt32
    /// The connection is encrypted: the guard refuses packets of it without ``passed``.
    public var encrypted: UInt32

    public init(passed: UInt32 = 0x1000_0000, plain: UInt32 = 0x2000_0000, encrypted: UInt32 = 0x4000_0000) {
        self.passed = passed
        self.plain = plain
        self.encrypted = encrypted
    }

    /// All bits that are ours.
    public var mask: UInt32 { passed | plain | encrypted }

    /// The mark of an accepted packet: a verdict replaces the whole mark, so the bits of others are kept here.
    ///
    /// An outbound packet keeps all of its mark, which the rules set before the queue: a verdict that changes it makes the kernel
    /// choose the route again. Inbound packets tell the connection what it is.
    public func verdict(_ old: UInt32, _ flow: FlowMark, _ direction: Direction) -> UInt32 {
        guard direction == .inbound else { return old }
        let foreign = old & ~mask
        switch flow {
        case .undecided: return foreign | passed
        case .plain: return foreign | passed | plain
        case .encrypted: return foreign | passed | encrypted
        case .unchanged: return old
        }
    }

    /// The mark of an injected packet: the rules add ours.
    public func foreign(_ mark: UInt32) -> UInt32 { mark & ~mask }
}
