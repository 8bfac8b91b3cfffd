/// The session secrets of one original session, or the secrets of one join chain, as one end uses them.
///
/// Each index serves one connection. This end *proposes* an index as the active opener, or *finds* the one that a
/// peer names and *spends* it when the connection proved itself. An index proposed here is never accepted, an
/// index the peer named is never proposed: of two hosts that propose the same index at once, both refuse (RFC 8548
/// section 3.5).
///
///     index:     ... named, not spent: pending | nextIndex ... in the table | ...
///
/// What is below ``nextIndex`` and not pending is gone, its secret wiped once no connection holds it.
public final class SecretChain {
    private struct Link {
        var index: Int
        var secret: Secret
    }

    public let tep: TEP
    public let aead: AEADAlgorithm
    /// Our role in the original session: which half we send, which keys we encrypt with.
    public let role: Role
    /// How many indices beyond the last one named are recognised.
    public let lookAhead: Int
    /// The last index that may be used.
    public let limit: Int
    /// Whether its TEP is the best that both ends allow: a frame authenticated on the connection that made the keys, and its SYN
    /// had named all TEPs. Somebody may have taken out the better ones otherwise.
    public var isConfirmed = false

    private let crypto: any CryptoProvider
    /// Whether a secret that a connection attempt named is kept until it is spent, at the price of refusing new
    /// names when there are too many; else the oldest make room.
    private let keepsNamed: Bool
    /// The lowest index nobody has named.
    private var cursor: Link
    /// Follows the last index proposed here that the peer has answered: from there on it recognises so many, whatever got lost.
    private var unanswered: Link
    private var repetitions = 0
    /// Below the cursor: named by the peer, or skipped, and not spent.
    private var pending: [Int: Secret] = [:]
    /// Those of them that the peer named.
    private var named: Set<Int> = []
    /// Connections that tried each of them.
    private var attempts: [Int: UInt8] = [:]
    /// Nothing below is pending, but for what is kept.
    private var oldestPending: Int
    /// The peer's halves of everything acceptable, built when someone first asks.
    private var table: [HalfID: Int] = [:] {
        didSet { tableVersion &+= 1 }
    }
    /// Changes whenever ``acceptableHalves`` may have.
    private(set) var tableVersion = 0
    private var tableEnd: Link?

    /// Indices kept below the cursor at most: reordered SYNs and handshakes in flight. Named ones that are kept
    /// have this limit for themselves.
    private var pendingLimit: Int { max(lookAhead, 128) }

    /// The chain whose first usable secret follows `secret`, which has `index`.
    init(
        after secret: Secret, index: Int, tep: TEP, aead: AEADAlgorithm, role: Role, lookAhead: Int, limit: Int,
        keepsNamed: Bool, crypto: any CryptoProvider
    ) {
        self.tep = tep
        self.aead = aead
        self.role = role
        self.lookAhead = max(1, lookAhead)
        self.limit = limit
        self.keepsNamed = keepsNamed
        self.crypto = crypto
        cursor = Link(index: index + 1, secret: crypto.nextSecret(after: secret))
        unanswered = cursor
        oldestPending = index + 1
    }

    /// The lowest index that neither side has named, as far as this end knows.
    public var nextIndex: Int { cursor.index }
    public var isExhausted: Bool { cursor.index > limit }

    /// The active opener's next secret; nil at the limit. It is used up by this call, whatever becomes of it, but in a join chain of which the
    /// peer has not answered as many proposals as it looks ahead: there they come again in turn, each with a nonce of its own.
    public func propose() -> ChainEntry? {
        guard !isExhausted else { return nil }
        guard keepsNamed || cursor.index - unanswered.index < lookAhead else { return proposeAgain() }
        let entry = entry(cursor.index, cursor.secret)
        advance()
        table[peerHalf(entry.id)] = nil
        return entry
    }

    /// No keys were made of these here, for that takes an answer; where one did arrive, the peer holds it until a frame proves it.
    private func proposeAgain() -> ChainEntry {
        var link = unanswered
        for _ in 0..<repetitions % lookAhead {
            link = Link(index: link.index + 1, secret: crypto.nextSecret(after: link.secret))
        }
        repetitions += 1
        return entry(link.index, link.secret)
    }

    /// The peer has answered a proposal, and has come as far.
    public func noteAnswer(to entry: ChainEntry) {
        guard entry.index >= unanswered.index else { return }
        unanswered = Link(index: entry.index + 1, secret: crypto.nextSecret(after: entry.secret))
    }

    /// The secret a peer names, if it may still be accepted: one dictionary lookup where it may not.
    ///
    /// Found again until it is spent: several connections may try the same secret, each with a nonce of its own.
    /// In a session's chain nothing new is found while too many wait to be spent: those connections can exchange
    /// keys instead, while one that was told to resume must be able to.
    public func find(_ half: HalfID) -> ChainEntry? {
        guard let index = index(named: half), hasRoom(for: index) else { return nil }
        while cursor.index <= index {
            pending[cursor.index] = cursor.secret
            advance()
        }
        guard let secret = pending[index] else { return nil }
        named.insert(index)
        trimPending()
        return entry(index, secret)
    }

    /// What a connection attempt would come to that names a secret.
    public enum Standing: Sendable { case unknown, triedTooOften, open }

    /// The best that any name in `option` would come to; nothing is found or counted by that.
    ///
    /// Cheap, for options of anybody in any number: the option is not taken apart, so that what has the shape of a name elsewhere in it is looked
    /// up as well. ``ENOAnswer/answer(to:teps:applicationAware:resume:)`` finds no name that is missed here.
    ///
    /// - Parameter option: a whole ENO option of a SYN (RFC 8547 section 4.2), kind and length byte included.
    public func standing(ofNamesIn option: Span<UInt8>) -> Standing {
        let identifier = tep.rawValue | SYNFormENO.variable
        var best = Standing.unknown
        var start = 2
        while start + 1 + HalfID.length <= option.count {
            defer { start += 1 }
            guard option[start] == identifier,
                let index = index(named: HalfID(loading: option, at: start + 1)), hasRoom(for: index)
            else { continue }
            if attempts[index, default: 0] < Self.mostAttempts { return .open }
            best = .triedTooOften
        }
        return best
    }

    /// Counts one more connection that tries a secret that was found.
    ///
    /// - Returns: how many did before; nil where these are enough.
    public func admitAttempt(_ index: Int) -> UInt8? {
        let made = attempts[index, default: 0]
        guard pending[index] != nil, made < Self.mostAttempts else { return nil }
        attempts[index] = made + 1
        return made
    }

    /// Connections that may try one secret before one of them proves it.
    public static let mostAttempts: UInt8 = 16

    /// Uses up a secret that was found. The first connection to authenticate a frame under it may go on.
    /// - Returns: false where it was spent before, proposed here, or is too old: the connection must not go on.
    public func spend(_ index: Int) -> Bool {
        guard let secret = pending.removeValue(forKey: index) else { return false }
        named.remove(index)
        attempts[index] = nil
        table[peerHalf(crypto.resumptionID(of: secret))] = nil
        return true
    }

    /// The halves that ``find(_:)`` knows.
    var acceptableHalves: some Collection<HalfID> {
        extendTable(to: lookAhead)
        return table.keys
    }

    private func advance() {
        cursor = Link(index: cursor.index + 1, secret: crypto.nextSecret(after: cursor.secret))
        tableVersion &+= 1
    }

    private func hasRoom(for index: Int) -> Bool {
        !keepsNamed || named.count < pendingLimit || named.contains(index)
    }

    private func trimPending() {
        while pending.count - (keepsNamed ? named.count : 0) > pendingLimit {
            if !keepsNamed || !named.contains(oldestPending) { _ = spend(oldestPending) }
            oldestPending += 1
        }
    }

    // MARK: Names

    private func entry(_ index: Int, _ secret: Secret) -> ChainEntry {
        ChainEntry(index: index, secret: secret, id: crypto.resumptionID(of: secret))
    }

    private func peerHalf(_ id: ResumptionID) -> HalfID { id.half(sentBy: role.other) }

    /// Most peers name the very next secret: the table reaches further once somebody names what is not in it.
    private func index(named half: HalfID) -> Int? {
        extendTable(to: 1)
        if let index = table[half] { return index }
        extendTable(to: lookAhead)
        return table[half]
    }

    private func enter(_ link: Link) {
        table[peerHalf(crypto.resumptionID(of: link.secret))] = link.index
        tableEnd = link
    }

    /// Enters `count` indices from the cursor on.
    private func extendTable(to count: Int) {
        guard !isExhausted else { return }
        let last = cursor.index + min(count - 1, limit - cursor.index)
        while true {
            guard let end = tableEnd, end.index >= cursor.index else {
                enter(cursor)
                continue
            }
            guard end.index < last else { return }
            enter(Link(index: end.index + 1, secret: crypto.nextSecret(after: end.secret)))
        }
    }
}
