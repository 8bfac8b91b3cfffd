import DequeModule
import PacketWire
import Tcpcrypt

/// One flow among all that ever had its addresses.
struct FlowID: Hashable {
    let tuple: FlowTuple
    let serial: UInt64
}

/// One packet with what the kernel told of it.
struct Arrival {
    let packet: TCPPacket
    let metadata: PacketMetadata
    let now: Instant
}

/// A packet of the local kernel that must not leave before keys exist.
struct HeldOutbound {
    let bytes: [UInt8]
    let packet: TCPPacket
    let metadata: PacketMetadata

    var load: HeldLoad { HeldLoad(packets: 1, bytes: bytes.count) }
    var isPureAck: Bool { packet.payload.isEmpty && !packet.flags.contains(.fin) }
}

/// One TCP connection between the local kernel and the wire.
///
///                 SYN                    SYN-ACK                    third ACK
///     opener:   opening ------------> keyExchange / encrypted / observing, plain
///     acceptor: accepting ----------------------------------------> keyExchange / encrypted / plain
///     either:   keyExchange --Init1, Init2--> encrypted --...--> aborted, or finished and forgotten
///
/// The parts: `Flow+Opening` and `Flow+Accepting` are the TCP-ENO handshake in both roles, `Flow+Outbound` and
/// `Flow+Inbound` the translation between the sequence spaces, `Flow+Emission` writes packets, `Flow+Ending` is
/// about resets, aborts and time.
final class Flow {
    enum Phase { case opening, accepting, observing, keyExchange, encrypted, plain, aborted }

    let host: Host
    let id: FlowID
    var tuple: FlowTuple { id.tuple }
    let isOpener: Bool
    /// What is wanted of it; of a join ``Policy/joins`` counts.
    let policy: Policy
    var phase: Phase
    var reason: FallbackReason?
    /// It would have been ordinary TCP, and its policy forbids that.
    var isRefused = false
    /// The local kernel may have it half-open without knowing that it must not go on in clear.
    var isNeverPlain = false

    /// Those of the MPTCP connection that was ended with it.
    var closingKeys: MPTCPKeys?

    /// A SYN from the wire opened it where an encrypted connection had been, and the local kernel has not answered it
    /// yet: it may still have the old connection, which must not go on in clear.
    var isUnconfirmed = false
    /// Among the engine's ``UnprovenFlows``.
    var isCountedUnproven = false

    // MARK: Negotiation and keys

    /// Bit a of the peer's SYN or SYN-ACK, unless it is a join.
    var peerIsApplicationAware: Bool?
    /// The opener's SYN named all TEPs that its sender allows, and not a session's alone.
    var isOfferComplete = false
    var opening: Opening?
    /// The peer has opened too.
    var crossing: Crossing?
    /// This host opened, and plays role B nevertheless.
    var isOpenerB = false
    var accepting: Accepting?
    var origin: Origin?
    var tep: TEP?
    var keyExchange: KeyExchangeA?
    /// The acceptor's exchange once Init2 has left, and when that was: the public-key operation is due, after the packets that are there.
    var answered: (exchange: KeyExchangeB, at: Instant)?
    /// The negotiation transcript, while the acceptor waits for Init1 (RFC 8547 section 4.8).
    var transcript: [UInt8] = []
    /// What the keys came from, until everything is derived from it.
    var secret: ConnectionSecret?
    /// What reports tell of it.
    var keyFacts: (aead: AEADAlgorithm, index: Int)?
    /// The session this connection's keys began or came from.
    var sessionChain: SecretChain?
    var sealer: FrameSealer?
    var opener: FrameOpener?
    var sessionID: [UInt8] = []
    /// The index of the secret that the peer named, until its first authenticated frame proves that it holds it (DESIGN.md section 4).
    var proofOwed: Int?
    /// The peer has keys, and where it joins has shown so.
    var isProven = false

    // MARK: MPTCP

    var mptcp: MPTCPConnection? {
        didSet { noteKeys() }
    }
    /// Whether packets of several segments come, on this subflow or, as far as known, another one.
    var receivesSuperPackets = false
    /// What the kernel's route said of the path at last.
    var notedRoute: Int?
    var isJoin = false
    var joinRandom: UInt32 = 0
    /// The token in the SYN that was judged.
    var joinToken: UInt32?
    var offersCapable = false
    /// What travels in frames of MPTCP's signalling.
    var signalling = Signalling()
    /// The kernel has seen an MPTCP option behind the handshake: packets without one cannot make it fall back.
    var kernelEstablished = false
    /// The kernel speaks without MPTCP, and so has fallen back to TCP.
    var kernelFellBack = false

    // MARK: Sequence spaces

    var outOrigin = SequenceOrigin(initial: SequenceNumber(0))
    var inOrigin = SequenceOrigin(initial: SequenceNumber(0))
    var send = SendStream()
    var receive = ReceiveStream()
    var heldOutbound: Deque<HeldOutbound> = []
    /// The active opener attaches the empty ENO option until it hears a non-SYN segment (RFC 8547 section 4.6).
    var needsENO = false
    /// Something that owns no K has arrived: no kernel acknowledges it. What leaves soon says it too.
    var ackOwed = false
    var ackDeadline: Instant?
    var outOfOrder = OutOfOrderAcknowledgements()
    var lateness = Lateness()
    /// When what arrived out of order has to be told at the latest.
    var sackDeadline: Instant?

    // MARK: Header memory

    var header = HeaderMemory()
    /// The kernel's third ACK: what the engine resends must carry its MPTCP option.
    var handshakeACK: (bytes: [UInt8], packet: TCPPacket)?
    var localOffer = SYNOffer()
    var synsSent = 0
    /// The SYNs with ENO had no answer; one to those without is news.
    var isOfferWithdrawn = false

    // MARK: Time

    /// The shortest so far, in nanoseconds.
    var roundTrip: Int64 = 10_000_000
    /// What was sent last for its round trip to be measured: its end in W.
    var timed: (w: Int, at: Instant)?
    var handshakeStarted: Instant
    var lastActivity: Instant
    var engineDeadline: Instant?
    var engineRetries = 0
    var progressDeadline: Instant?
    var doubt: Doubt?
    /// No frame announced it, and none has come since.
    var doubtedReset: DoubtedReset?
    /// The frame that announced the local kernel's reset, in W.
    var signedReset: Range<Int>?
    /// When the engine last answered something unacceptable (RFC 5961 section 5).
    var lastChallenge: Instant?
    /// When the kernel was last made to acknowledge what had been delivered up to there, in K.
    var asked: (k: Int, at: Instant)?
    var lastRedelivery: Instant?
    /// When the local kernel last sent something again.
    var lastRepetition: Instant?
    var redeliveryDeadline: Instant?
    var redeliveries = 0
    /// When the wire last brought anything.
    var lastHeard: Instant
    /// When held packets have to go if nothing is heard.
    var heldDeadline: Instant?
    /// When the end that the peer signed counts without its FIN.
    var finDeadline: Instant?
    /// When a peer that has proved nothing is given up.
    var proofDeadline: Instant?
    /// When to look whether memory has become idle.
    var memoryDeadline: Instant?
    /// Among the engine's ``FinishedFlows``.
    var isCountedFinished = false
    var isJournaled = false
    var isReset = false
    /// By a frame, or by silence after a reset.
    var isResetByPeer = false
    /// The last frame did not authenticate.
    var hasFailed = false
    var lastFailure: Instant?
    /// When keys that were used have to be replaced, and where both directions were when that was looked at last.
    var rekeyDeadline: Instant?
    var rekeyedAt: StreamPlace? = StreamPlace(sent: 0, received: 0)
    /// The local kernel wants to know from time to time whether the peer is alive.
    var asksForLife = false
    /// How far the incomplete frame had come when its timer was set.
    var progressW = 0
    /// When pieces of a frame were last acknowledged before it was whole.
    var promisedAt: Instant?
    var removalDeadline: Instant?
    /// When the engine's ``DeadlineQueue`` has it called, and its place there.
    var scheduled: Instant?
    var deadlinePlace: Int?

    var traffic = Traffic()

    struct Traffic {
        var plainIn: UInt64 = 0
        var plainOut: UInt64 = 0
        var wireIn: UInt64 = 0
        var wireOut: UInt64 = 0
        var authFailures: UInt64 = 0
    }

    init(host: Host, id: FlowID, isOpener: Bool, now: Instant) {
        self.host = host
        self.id = id
        self.isOpener = isOpener
        let port = isOpener ? id.tuple.remote.port : id.tuple.local.port
        policy = host.configuration.policy(peer: id.tuple.remote.address, port: port)
        phase = isOpener ? .opening : .accepting
        handshakeStarted = now
        lastActivity = now
        lastHeard = now
    }

    /// The ENO role of this host (RFC 8547 section 4.3): A sends Init1.
    var role: Role { isOpener && !isOpenerB ? .a : .b }

    /// Ciphertext, or keys for it, may exist: nothing of this flow may ever pass in clear.
    var isProtected: Bool { phase == .keyExchange || phase == .encrypted || phase == .aborted }
    /// A SYN from the wire opened it, and nothing since shows that anybody wants it.
    var isUnproven: Bool { !isOpener && !isProven && phase != .plain && !isReset }
    /// What remains is there to answer late packets.
    var hasEnded: Bool { phase == .aborted || isReset || isFinished }
    var isFinished: Bool { send.isFinished && receive.isFinished }
    /// The kernel is shown nothing of a join before its proof.
    var awaitsProof: Bool { isJoin && proofOwed != nil }
    /// Established: what its packets do concerns no other connection.
    var isSettled: Bool { phase == .encrypted && isProven && !lacksKeys && !isUnconfirmed }
    /// The keys of the MPTCP connection are not known yet (RFC 8684 section 3.1).
    var lacksKeys = false

    var nextDeadline: Instant? {
        var next = Instant.earlier(engineDeadline, progressDeadline)
        next = Instant.earlier(next, redeliveryDeadline)
        next = Instant.earlier(next, sackDeadline)
        next = Instant.earlier(next, ackDeadline)
        next = Instant.earlier(next, doubt?.due)
        next = Instant.earlier(next, doubtedReset?.due)
        next = Instant.earlier(next, heldDeadline)
        next = Instant.earlier(next, finDeadline)
        next = Instant.earlier(next, proofDeadline)
        next = Instant.earlier(next, memoryDeadline)
        next = Instant.earlier(next, rekeyDeadline)
        next = Instant.earlier(next, answered?.at)
        return Instant.earlier(next, removalDeadline)
    }

    /// Ordinary TCP from now on (RFC 8547 section 4.6).
    func fallBack(_ reason: FallbackReason, _ output: inout Output) {
        self.reason = reason
        phase = .plain
        opening = nil
        accepting = nil
        keyExchange = nil
        answered = nil
        if let mptcp, !isJoin { host.tracker.settlePlain(mptcp) }
        host.counters.fallbacks += 1
        output.actions.append(.log(.fellBack(tuple, reason)))
    }
}

/// What is needed to make packets that fit among the kernel's own.
struct HeaderMemory {
    /// Window shifts, zero unless both SYNs had the option (RFC 7323 section 2.2).
    var localScale = 0
    var remoteScale = 0
    /// The local kernel's latest window field, as it goes on the wire.
    var window: UInt16 = 0
    /// How far the peer has been told that it reaches, in W.
    var advertisedEdge = 0
    /// The same in bytes.
    var localWindow = 0
    /// The peer's latest window field.
    var remoteWindow: UInt16 = 0
    /// How far the peer's window reaches in W, and what the local kernel was told of it in K.
    var toldEdge = (w: 0, k: 0)
    /// The window that the local kernel was told last, in bytes.
    var toldWindow = 0
    /// How much the kernel knows to be acknowledged, in K.
    var toldAcknowledgedK = 0
    var usesTimestamps = false
    var usesSACK = false
    var timestampValue: UInt32 = 0
    /// That of the local kernel's SYN-ACK.
    var synACKTimestamp: UInt32 = 0
    var timestampTaken = Instant(nanoseconds: 0)
    /// The peer's latest timestamp.
    var timestampEcho: UInt32?
    var hopLimit: UInt8 = 64
    var egress = Egress()
    /// The longest packet that the path takes, as far as known; 0 where nothing is.
    var mtu = 0
    /// The longest that the kernel lets leave of its own: less, where it leaves room for a frame.
    var kernelMTU = 0
    /// The segment that the kernel makes at present, options included, as far as its packets show.
    var kernelSegment = Int.max
    /// The largest segment the path takes, options included: the least of both MSS options and the local MTU.
    var wireMSS = 536
    var localMSS = Int.max
    var remoteMSS = 536
    /// A packet of ours from nothing, and its layout.
    var template: [UInt8] = []
    var templatePacket: TCPPacket?
}
