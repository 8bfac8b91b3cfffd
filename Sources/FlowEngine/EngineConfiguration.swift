public import Tcpcrypt

/// What the engine may do and how much it may hold.
public struct EngineConfiguration: Sendable {
    /// Most wanted first; empty disables encryption.
    public var teps: [TEP] = [.curve25519]
    /// Most wanted first.
    public var aeads: [AEADAlgorithm] = [.aes128GCM]
    /// Destination ports of SYNs that are left alone; never applied to MP_JOIN.
    public var excludedPorts: Set<UInt16> = []
    /// The first that matches a connection counts, before ``excludedPorts``; never applied to MP_JOIN.
    public var policies: [PolicyRule] = []
    /// Whether sessions are cached and resumed (RFC 8548 section 3.5).
    public var resumption = true
    /// Sessions cached, of the host; each takes about 3 KB, and whoever exchanges keys makes one.
    public var maximumSessions = 32_768
    /// How long after its key exchange a session may be resumed, in seconds.
    public var sessionLifetime = 86_400
    /// Bytes of nonce that we send to resume or join, 0 to 8; fewer where options leave no room, and 4 at least where we accept a session.
    /// Less than 8 only where no two machines ever have the same memory (RFC 8548 section 3.5).
    public var resumptionNonce = 8
    /// Flows tracked at once; beyond that new connections are plain.
    public var maximumFlows = 262_144
    /// Of these, such as a SYN from the wire opened and nobody has made keys for: see ``UnprovenFlows``.
    public var maximumUnprovenFlows = 32_768
    /// Key exchanges with strangers, a second: each costs the thread that serves other connections too as much as many packets.
    public var maximumKeyExchangesPerSecond = 3_000
    /// Packets whose verdict may be pending at once, below the kernel's queue length. An eighth is for what peers without
    /// keys send, another for what the local kernel sends to them.
    public var maximumHeldPackets = 16_384
    /// The same for one flow, which never gets more than it leaves to others either.
    public var maximumHeldPacketsPerFlow = 8_192
    /// Bytes of packets whose verdict is pending, and of what was acknowledged before it was whole, shared out alike.
    public var maximumHeldBytes = 256 << 20
    /// Largest frame made, in data bytes. Nothing of a frame counts before all of it has arrived, so it should
    /// not exceed the initial congestion window.
    public var maximumFrameData = 14_000
    /// Bytes of frames under one key, after which the next frame begins a new generation: 2^32 blocks of AES by default.
    public var mostBytesUnderKey: UInt64 = 1 << 36
    /// How old keys become that were used, in milliseconds (RFC 8548 section 3.8).
    public var oldestKeyMilliseconds: Int64 = 3_600_000

    public init() {}
}
