import DequeModule
import PacketWire
import Tables
import Tcpcrypt

/// One MPTCP connection as its subflows share it (RFC 8684 section 2).
final class MPTCPConnection {
    enum Protection { case undecided, plain, encrypted }

    /// Whether this host opened the first subflow: it plays role A in the join chains.
    let isOpener: Bool
    var localKey: UInt64?
    var remoteKey: UInt64?
    var localToken: UInt32?
    var remoteToken: UInt32?
    var protection = Protection.undecided
    /// Secrets for the joins this host opens, and for those the peer opens: two chains never collide.
    var openingChain: SecretChain?
    var acceptingChain: SecretChain?
    /// The session the connection's keys came from; a peer address that joins is learnt for it.
    var sessionChain: SecretChain?
    /// Whether packets of several segments come, on any subflow.
    var receivesSuperPackets = false
    /// Whether the first subflow uses timestamps.
    var usesTimestamps = false
    var subflows = 1
    /// When the last subflow went; the connection outlives it for a while (make after break).
    var emptySince: Instant?
    /// How far the peer's kernel has acknowledged this host's data, as far as a frame said so.
    private(set) var authenticAck: UInt64?

    /// Notes an acknowledgement that a frame brought, on any subflow.
    func note(acknowledgment: DSSOption.Acknowledgment, start: UInt64) {
        guard let known = authenticAck else {
            authenticAck = acknowledgment.expanded(near: start)
            return
        }
        let value = acknowledgment.expanded(near: known)
        if Int64(bitPattern: value &- known) > 0 { authenticAck = value }
    }

    init(isOpener: Bool) { self.isOpener = isOpener }

    /// Derives the join chains from the first subflow's secret, once both tokens are known.
    func deriveJoinChains(from secret: ConnectionSecret, crypto: any CryptoProvider) {
        guard let localToken, let remoteToken else { return }
        let local: Role = isOpener ? .a : .b
        let chain = { (opener: Role) in
            secret.joinChain(
                crypto, opener: opener, localRole: local, tokenA: self.isOpener ? localToken : remoteToken,
                tokenB: self.isOpener ? remoteToken : localToken, lookAhead: JoinPolicy.lookAhead,
                limit: JoinPolicy.chainLimit)
        }
        openingChain = chain(local)
        acceptingChain = chain(local.other)
        protection = .encrypted
    }
}

enum JoinPolicy {
    static let lookAhead = 256
    static let chainLimit = 1 << 20
    /// How long a connection without subflows is remembered.
    static let makeAfterBreakMilliseconds: Int64 = 120_000
    /// How many of them.
    static let mostEmpty = 4_096
    /// Connections remembered whose peers claim the same token. With two of them nobody joins any more.
    static let mostClaims = 8
}

/// Finds connections by token: the local one in a peer's MP_JOIN, the remote one in ours.
///
/// Our kernel does not use a token twice. Peers may, by chance or because they read another's key, which crosses the network
/// in clear: so no connection takes a remote token from another, and where several have it nobody joins.
struct MPTCPTracker {
    private var byLocalToken = SteadyTable<UInt32, MPTCPConnection>()
    private var byRemoteToken = SteadyTable<UInt32, [MPTCPConnection]>()
    /// Encrypted connections without subflows, in the order in which they lost the last one.
    private var empty: Deque<(connection: MPTCPConnection, since: Instant)> = []
    private var plainLocalTokens = RecentSet<UInt32>(limit: 1 << 16)
    private var plainRemoteTokens = RecentSet<UInt32>(limit: 1 << 16)

    func connection(localToken: UInt32) -> MPTCPConnection? { byLocalToken[localToken] }
    /// All whose peers claim the token.
    func connections(remoteToken: UInt32) -> [MPTCPConnection] { byRemoteToken[remoteToken] ?? [] }
    /// Whether the token belongs to a connection that was never encrypted.
    func isPlain(localToken: UInt32) -> Bool { plainLocalTokens.contains(localToken) }
    func isPlain(remoteToken: UInt32) -> Bool { plainRemoteTokens.contains(remoteToken) }

    /// Notes a key of a connection as its owner sent it; the token is the first 4 bytes of its SHA-256 (RFC 8684
    /// section 3.2).
    mutating func learn(
        _ key: UInt64, of sender: Direction, for connection: MPTCPConnection, crypto: any CryptoProvider
    ) {
        let token = Self.token(of: key, crypto)
        switch sender {
        case .outbound where connection.localKey == nil:
            connection.localKey = key
            connection.localToken = token
            byLocalToken[token] = connection
            // The kernel has given it to a new connection, of which nothing is known yet.
            plainLocalTokens.remove(token)
        case .inbound where connection.remoteKey == nil:
            connection.remoteKey = key
            connection.remoteToken = token
            if byRemoteToken[token, default: []].count < JoinPolicy.mostClaims {
                byRemoteToken[token, default: []].append(connection)
            }
        default:
            break
        }
    }

    /// A connection that stays plain: only its tokens are remembered.
    mutating func settlePlain(_ connection: MPTCPConnection) {
        connection.protection = .plain
        forget(connection)
        if let token = connection.localToken { plainLocalTokens.insert(token) }
        if let token = connection.remoteToken { plainRemoteTokens.insert(token) }
    }

    /// Notes a remote token that the local kernel uses for the connection with that local one.
    ///
    /// - Returns: whether that connection is known never to have been encrypted; only then it is noted.
    mutating func learnPlain(remoteToken: UInt32, ofLocal localToken: UInt32?) -> Bool {
        guard let localToken, byLocalToken[localToken] == nil, plainLocalTokens.contains(localToken),
            byRemoteToken[remoteToken] == nil
        else { return false }
        plainRemoteTokens.insert(remoteToken)
        return true
    }

    mutating func adoptPlain(_ tokens: [(local: UInt32, remote: UInt32)]) {
        for pair in tokens {
            plainLocalTokens.insert(pair.local)
            plainRemoteTokens.insert(pair.remote)
        }
    }

    /// No connection is joined any more.
    func eraseChains() {
        for connection in byLocalToken.values {
            connection.openingChain = nil
            connection.acceptingChain = nil
            connection.sessionChain = nil
        }
    }

    mutating func forget(_ connection: MPTCPConnection) {
        if let token = connection.localToken, byLocalToken[token] === connection { byLocalToken[token] = nil }
        guard let token = connection.remoteToken else { return }
        byRemoteToken[token]?.removeAll { $0 === connection }
        if byRemoteToken[token]?.isEmpty == true { byRemoteToken[token] = nil }
    }

    /// A connection has lost its last subflow. One that nobody could join is forgotten: anybody can make those.
    mutating func noteEmpty(_ connection: MPTCPConnection, now: Instant) {
        guard connection.protection == .encrypted else { return forget(connection) }
        connection.emptySince = now
        empty.append((connection, now))
        while empty.count > JoinPolicy.mostEmpty { forgetFirstEmpty() }
    }

    /// Forgets connections that lost their last subflow long ago.
    ///
    /// - Returns: whether there are more.
    mutating func expire(now: Instant, atMost most: Int) -> Bool {
        for _ in 0..<most {
            guard hasExpired(now) else { return false }
            forgetFirstEmpty()
        }
        return hasExpired(now)
    }

    private func hasExpired(_ now: Instant) -> Bool {
        guard let first = empty.first else { return false }
        return now.milliseconds(since: first.since) > JoinPolicy.makeAfterBreakMilliseconds
    }

    private mutating func forgetFirstEmpty() {
        guard let first = empty.popFirst() else { return }
        // It may have been joined since.
        let isEmpty = first.connection.subflows <= 0 && first.connection.emptySince == first.since
        if isEmpty { forget(first.connection) }
    }

    /// Connections known by a token of theirs.
    var count: Int { byLocalToken.count + byRemoteToken.values.reduce(0) { $0 + $1.count } }

    private static func token(of key: UInt64, _ crypto: any CryptoProvider) -> UInt32 {
        digest(of: key, crypto).span.loadUInt32(at: 0)
    }

    /// The lower half of the initial data sequence number of a key's owner (RFC 8684 section 3.1).
    static func initialDataSequence(of key: UInt64, _ crypto: any CryptoProvider) -> UInt32 {
        UInt32(truncatingIfNeeded: initialSequence(of: key, crypto))
    }

    /// The initial data sequence number of a key's owner (RFC 8684 section 3.1).
    static func initialSequence(of key: UInt64, _ crypto: any CryptoProvider) -> UInt64 {
        digest(of: key, crypto).span.loadUInt64(at: 24)
    }

    private static func digest(of key: UInt64, _ crypto: any CryptoProvider) -> [UInt8] {
        let bytes = (0..<8).map { UInt8(truncatingIfNeeded: key >> (56 - 8 * UInt64($0))) }
        return crypto.sha256(bytes.span)
    }
}

/// A set that forgets its oldest half when it is full.
struct RecentSet<Element: Hashable> {
    private var young = SteadyTable<Element, Void>()
    private var old = SteadyTable<Element, Void>()
    private let half: Int

    init(limit: Int) { half = max(1, limit / 2) }

    func contains(_ element: Element) -> Bool { young.contains(element) || old.contains(element) }

    mutating func remove(_ element: Element) {
        young.removeValue(forKey: element)
        old.removeValue(forKey: element)
    }

    mutating func insert(_ element: Element) {
        young[element] = ()
        guard young.count >= half else { return }
        old = young
        young = SteadyTable()
    }
}
