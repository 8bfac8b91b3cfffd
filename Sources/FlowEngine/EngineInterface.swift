public import PacketWire
public import Tcpcrypt

/// A point on a monotonic clock that the caller owns. The engine never reads a clock.
public struct Instant: Comparable, Hashable, Sendable {
    public var nanoseconds: Int64

    public init(nanoseconds: Int64) { self.nanoseconds = nanoseconds }

    public static func < (a: Instant, b: Instant) -> Bool { a.nanoseconds < b.nanoseconds }

    public func adding(milliseconds: Int64) -> Instant {
        Instant(nanoseconds: nanoseconds &+ milliseconds &* 1_000_000)
    }

    /// Whole milliseconds since `earlier`, never negative.
    public func milliseconds(since earlier: Instant) -> Int64 {
        max(0, (nanoseconds &- earlier.nanoseconds) / 1_000_000)
    }
}

/// As the local kernel sees it: `outbound` counts plaintext (K), `inbound` counts the wire (W).
public enum Direction: Sendable, Hashable { case outbound, inbound }

/// Names one packet whose verdict is pending.
public struct PacketID: Hashable, Sendable {
    public var queue: UInt16
    public var number: UInt32

    public init(queue: UInt16, number: UInt32) {
        self.queue = queue
        self.number = number
    }
}

/// What the kernel told about a packet besides its bytes.
public struct PacketMetadata: Sendable {
    public var id: PacketID
    public var direction: Direction
    /// The packet mark as received; injected packets of the flow carry it too.
    public var mark: UInt32
    /// A super-packet: the kernel segments it after the verdict, so its length is not bound by `mtu`,
    /// and an outbound one needs no checksum of ours.
    public var isGSO: Bool
    /// Index of the egress (outbound) or ingress (inbound) device.
    public var interface: UInt32
    /// MTU in bytes, 0 where unknown: of that device or, where it is less, of the path to an outbound packet's destination.
    public var mtu: Int
    /// False where nobody has verified the TCP checksum of an inbound packet yet.
    public var isChecksumVerified: Bool

    public init(
        id: PacketID, direction: Direction, mark: UInt32 = 0, isGSO: Bool = false, interface: UInt32 = 0,
        mtu: Int = 0, isChecksumVerified: Bool = true
    ) {
        self.id = id
        self.direction = direction
        self.mark = mark
        self.isGSO = isGSO
        self.interface = interface
        self.mtu = mtu
        self.isChecksumVerified = isChecksumVerified
    }
}

/// What the rules shall remember of a packet's connection.
public enum FlowMark: Sendable, Hashable {
    /// Processed by the engine; the connection stays in the queue.
    case undecided
    /// Ordinary TCP: the connection leaves the queue.
    case plain
    /// Encrypted: the guard refuses packets of it that did not pass the engine.
    case encrypted
    /// Nothing: the packet, an ICMP error, is about the connection and not of it.
    case unchanged
}

/// How an injected packet must leave: as the flow's own packets do.
public struct Egress: Sendable, Hashable {
    public var mark: UInt32
    public var interface: UInt32

    public init(mark: UInt32 = 0, interface: UInt32 = 0) {
        self.mark = mark
        self.interface = interface
    }
}

/// A TCP connection as the local host names it.
public struct FlowTuple: Hashable, Sendable {
    public var local: Endpoint
    public var remote: Endpoint

    public init(local: Endpoint, remote: Endpoint) {
        self.local = local
        self.remote = remote
    }
}

/// The keys of an MPTCP connection (RFC 8684 section 3.1). They travelled in clear: no secrets of ours.
public struct MPTCPKeys: Hashable, Sendable {
    public var local: UInt64
    public var remote: UInt64

    public init(local: UInt64, remote: UInt64) {
        self.local = local
        self.remote = remote
    }
}

/// A flow that was encrypted when an earlier daemon died: never plain again, to be reset at both ends.
public struct CondemnedFlow: Hashable, Sendable {
    public var tuple: FlowTuple
    public var keys: MPTCPKeys?

    public init(tuple: FlowTuple, keys: MPTCPKeys?) {
        self.tuple = tuple
        self.keys = keys
    }
}

/// What the engine wants done, in this order. Byte ranges index ``Output/bytes`` and hold whole IP
/// packets with valid checksums (except outbound replacements of GSO packets, which the kernel completes).
public enum Action: Sendable, Hashable {
    case accept(PacketID, FlowMark)
    case replace(PacketID, Range<Int>, FlowMark)
    case drop(PacketID)
    /// Send towards the peer.
    case inject(Range<Int>, Egress)
    /// Hand to the local kernel as if it had arrived from the peer: resets, probes, and data that the kernel lost.
    /// Up to 64 KB.
    case injectLocal(Range<Int>)
    /// Destroy the local socket (SOCK_DESTROY); the application sees an error.
    case destroySocket(FlowTuple)
    /// The flow may carry ciphertext from now on: remember it across a crash, before anything else. Comes again
    /// when the MPTCP keys are known.
    case journalAdd(CondemnedFlow)
    /// The flow ended: forget it.
    case journalRemove(FlowTuple)
    /// Ask the local kernel to which connection the join belongs whose SYN it has just sent, and hand what it says to
    /// ``Engine/resolve(_:local:into:)``.
    case inquire(JoinInquiry)
    case log(EngineEvent)
}

/// A join that the local kernel opens, of which its token does not tell to what it belongs.
public struct JoinInquiry: Hashable, Sendable {
    public var tuple: FlowTuple
    /// Index of the device by which the SYN was to leave: its socket may be bound to it.
    public var interface: UInt32
    /// The peer's token, as the SYN has it.
    public var token: UInt32

    public init(tuple: FlowTuple, interface: UInt32, token: UInt32) {
        self.tuple = tuple
        self.interface = interface
        self.token = token
    }
}

/// Things an operator may want to read; never secrets.
public enum EngineEvent: Sendable, Hashable {
    case encrypted(FlowTuple, Origin)
    case fellBack(FlowTuple, FallbackReason)
    /// With the token that the join named, where it named one.
    case joinRefused(FlowTuple, JoinRefusal, token: UInt32?)
    case aborted(FlowTuple, AbortReason)
    /// A policy wants encryption or nothing, and encryption did not come about.
    case refused(FlowTuple, FallbackReason)
}

/// A reusable buffer of actions and the bytes they name: filled by the engine, drained and reset by the caller.
public struct Output: ~Copyable {
    public internal(set) var actions: [Action] = []
    /// Only the ranges named by actions are meaningful.
    public internal(set) var bytes: [UInt8]
    var used = 0

    public init(capacity: Int = 1 << 18) {
        bytes = [UInt8](repeating: 0, count: capacity)
        actions.reserveCapacity(64)
    }

    public mutating func reset() {
        actions.removeAll(keepingCapacity: true)
        if actions.capacity > Self.mostActionsKept { actions = [] }
        if used > Self.mostBytesKept { bytes = [UInt8](repeating: 0, count: Self.mostBytesKept) }
        used = 0
    }

    /// What one busy moment made is not kept for good.
    private static let mostBytesKept = 4 << 20
    private static let mostActionsKept = 65_536

    /// The offset of `count` fresh bytes.
    mutating func allocate(_ count: Int) -> Int {
        let start = used
        used += count
        if used > bytes.count {
            bytes.append(contentsOf: repeatElement(0, count: max(used - bytes.count, bytes.count)))
        }
        return start
    }
}

// MARK: - Reports

/// How a connection came by its keys.
public enum Origin: String, Sendable, Hashable { case fresh, resumed, join }

public enum SubflowState: String, Sendable, Hashable { case handshake, encrypted, plain }

/// Why a connection is ordinary TCP (RFC 8547 section 4.6, and our own policy), or none at all where a policy wants encryption.
public enum FallbackReason: String, Sendable, Hashable {
    case noENO = "peer sent no ENO option"
    case vacuousENO = "peer sent a vacuous ENO option"
    case illFormedENO = "peer sent an ill-formed ENO option"
    case noCommonTEP = "no TEP in common"
    case roleConflict = "both ends claim the same role"
    case echoedENO = "peer echoed our ENO option"
    case badResumption = "peer answered another resumption identifier"
    case noENOOnACK = "no ENO option on the third ACK"
    case synRetransmitted = "ENO withdrawn after unanswered SYNs"
    case synData = "data on the SYN"
    case optionSpace = "no room for ENO among the TCP options"
    case excludedPort = "port excluded by configuration"
    case policy = "left alone by a policy"
    case notApplicationAware = "peer is not application-aware"
    case noRandomness = "no seeded randomness yet"
    case tableFull = "too many connections at once"
    case unknownHandshake = "handshake that began without the daemon"
    case plainMPTCPConnection = "subflow of a plain MPTCP connection"
    case busy = "too many key exchanges at once"
    case stopping = "the daemon stops"
}

public enum JoinRefusal: String, Sendable, Hashable {
    case unknownToken = "token of no known connection"
    case noProof = "no proof of the shared secret"
    case badProof = "resumption identifier of no join chain"
    case tooManyAttempts = "too many attempts under one secret"
    case chainExhausted = "join chain exhausted"
    case ambiguousToken = "token that several peers claim"
    case policy = "joins are off by a policy"
    case stopping = "the daemon stops"

    /// Whether the token is that of a connection known here: of such tokens there are so many as of connections.
    public var isOfKnownConnection: Bool {
        switch self {
        case .unknownToken, .stopping: false
        case .noProof, .badProof, .tooManyAttempts, .chainExhausted, .ambiguousToken, .policy: true
        }
    }
}

public enum AbortReason: String, Sendable, Hashable {
    case authentication = "frames that do not authenticate"
    case badInit = "malformed key exchange message"
    case publicKey = "invalid public key"
    case cipher = "peer chose an AEAD we did not offer"
    case unsignedFIN = "FIN without FINp"
    case dataAfterFIN = "data behind FINp"
    case rekeying = "peer rekeys without end"
    case secretReused = "session secret used before"
    case handshakeTimeout = "key exchange timed out"
    case unknownEncryptedFlow = "encrypted before a restart"
    case shutdown = "daemon stopped"
    case machineCopied = "machine restored from a snapshot"

    /// Whether all connections end for it.
    public var isOfAll: Bool { self == .shutdown || self == .machineCopied }
}

public struct SubflowReport: Sendable, Hashable {
    public var local: Endpoint
    public var remote: Endpoint
    public var state: SubflowState
    public var origin: Origin?
    public var tep: TEP?
    public var aead: AEADAlgorithm?
    /// The ENO role of this host on this connection.
    public var role: Role?
    /// Bit a of the peer's SYN or SYN-ACK (RFC 8547 section 4.2); nil before it is known, and of joins.
    public var peerApplicationAware: Bool?
    /// The RFC 8548 section 3.4 session ID, empty until known.
    public var sessionID: [UInt8]
    public var secretIndex: Int?
    /// The generation numbers of RFC 8548 section 3.8.
    public var localGeneration: Int?
    public var remoteGeneration: Int?
    public var plainBytesIn: UInt64
    public var plainBytesOut: UInt64
    public var wireBytesIn: UInt64
    public var wireBytesOut: UInt64
    public var authFailures: UInt64
    /// Why the connection is plain, if it is.
    public var reason: FallbackReason?
}

public struct ConnectionReport: Sendable, Hashable {
    public var isMPTCP: Bool
    public var localToken: UInt32?
    public var remoteToken: UInt32?
    public var subflows: [SubflowReport]
}

/// A cached session: never its secret.
public struct SessionReport: Sendable, Hashable {
    public var tep: TEP
    public var aead: AEADAlgorithm
    public var originalRole: Role
    /// The lowest index not used yet.
    public var nextIndex: Int
    public var peers: [IPAddress]
    public var ageMilliseconds: Int64
    /// Names it among the sessions of the host.
    public var number: Int
    /// Grows with each use of any session.
    public var lastUse: UInt64
}

/// Monotonic counts since the engine was made.
public struct EngineCounters: Sendable, Hashable {
    public var packetsOut: UInt64 = 0
    public var packetsIn: UInt64 = 0
    public var framesSealed: UInt64 = 0
    public var framesOpened: UInt64 = 0
    public var publicKeyOperations: UInt64 = 0
    /// Generations of keys that this end began, or followed the peer in.
    public var rekeys: UInt64 = 0
    /// Messages of strangers that had to come again.
    public var keyExchangesPutOff: UInt64 = 0
    public var freshHandshakes: UInt64 = 0
    public var resumptions: UInt64 = 0
    public var joins: UInt64 = 0
    public var joinsRefused: UInt64 = 0
    public var fallbacks: UInt64 = 0
    /// Connections that would have been ordinary TCP where a policy wants encryption.
    public var connectionsRefused: UInt64 = 0
    public var authFailures: UInt64 = 0
    public var aborts: UInt64 = 0
    /// Resets that no frame announced, of peers that announce theirs.
    public var resetsDoubted: UInt64 = 0
    public var packetsHeld: UInt64 = 0
    public var packetsInjected: UInt64 = 0
    public var packetsDropped: UInt64 = 0
    public var malformed: UInt64 = 0
    public var icmpTranslated: UInt64 = 0

    public init() {}
}
