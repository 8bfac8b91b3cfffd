/// How one modelled kernel is set up.
public struct KernelConfiguration: Sendable {
    /// Of the device its packets leave and arrive by, in bytes.
    public var mtu = 1500
    public var usesTimestamps = true
    public var usesSACK = true
    /// The shift offered in the SYN; nil for no window scaling.
    public var windowScale: Int? = 7
    public var receiveBuffer = 262_144
    public var sendBuffer = 262_144
    /// Segments.
    public var initialWindow = 10
    /// Whether super-packets of up to 64 KB leave the kernel.
    public var usesGSO = true
    public var usesNagle = false
    public var keepAliveMilliseconds: Int64?
    public var delayedAckMilliseconds: Int64 = 40
    /// Whether acknowledgements are not delayed at the beginning and after a gap.
    public var usesQuickAcks = true
    /// Whether the third ACK waits for data to ride on.
    public var defersThirdAck = false
    /// The chance that the kernel drops what it was handed before TCP sees it.
    public var dropRate = 0.0
    /// The chance that a retransmission has other boundaries than the original.
    public var reboundaryRate = 0.3
    /// The chance that a write is urgent.
    public var urgentRate = 0.0

    /// Whether it sends shorter segments after several timeouts.
    public var probesPath = false

    public init() {}
}

/// Why a modelled socket died.
public enum SocketFailure: String, Sendable { case reset, timeout, destroyed, aborted, protocolViolation }
