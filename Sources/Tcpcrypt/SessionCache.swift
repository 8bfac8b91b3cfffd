public import PacketWire
import Tables

/// The sessions of one host that later connections may resume (RFC 8548 section 3.5), in memory only.
///
/// A session is known by the names of its secrets, not by an address; addresses only tell the active opener which
/// session to propose. Bounded: the least recently used session goes first. Times are milliseconds on any
/// monotonic clock, the same for all calls.
public struct SessionCache {
    /// One session as reports show it: never its secrets.
    public struct Entry: Hashable, Sendable {
        public let tep: TEP
        public let aead: AEADAlgorithm
        /// Our role in the original session.
        public let role: Role
        /// The lowest index not used yet.
        public let nextIndex: Int
        /// Addresses the session is proposed to.
        public let peers: [IPAddress]
        public let ageMilliseconds: Int64
        /// Names the session among those of this cache.
        public let number: Int
        /// Grows with each use of any session.
        public let lastUse: UInt64
    }

    private struct Session {
        let chain: SecretChain
        let stored: Int64
        var peers: [IPAddress]
        /// What ``halves`` holds of this session.
        var names: [HalfID] = []
        var namesVersion: Int?
        var newer: Int?
        var older: Int?
        var lastUse: UInt64 = 0
    }

    /// How many secrets of a session ahead of the last one used are recognised.
    public let lookAhead: Int
    private let limit: Int
    private let maximumAge: Int64
    private var sessions = SteadyTable<Int, Session>()
    private var numbers = SteadyTable<ObjectIdentifier, Int>()
    private var halves = SteadyTable<HalfID, Int>()
    private var addresses = SteadyTable<IPAddress, [Int]>()
    private var nextNumber = 0
    private var uses: UInt64 = 0
    /// Sessions below are forgotten, but ``erase(atMost:)`` has not come to all of them: so many are left.
    private var firstValid = 0
    private var unerased = 0
    /// The ends of the list by use.
    private var newest: Int?
    private var oldest: Int?

    /// A peer's addresses that are remembered for one session.
    private static let peerLimit = 32
    /// Sessions that one address can be proposed: many peers may share it, but what each of them names is found all the same.
    private static let sessionsPerAddress = 16

    /// - Parameters:
    ///   - limit: sessions kept at most.
    ///   - lookAhead: how far ahead a peer may be in a session's secrets; for ``store(_:peer:now:)``'s callers.
    ///   - maximumAgeMilliseconds: since the original key exchange.
    ///   - crypto: what the chains use.
    public init(limit: Int, lookAhead: Int, maximumAgeMilliseconds: Int64, crypto: any CryptoProvider) {
        self.limit = max(0, limit)
        self.lookAhead = lookAhead
        maximumAge = maximumAgeMilliseconds
    }

    public var count: Int { sessions.count - unerased }

    // MARK: In and out

    /// Keeps a session; a chain that is here already is not stored again.
    public mutating func store(_ chain: SecretChain, peer: IPAddress, now: Int64) {
        guard limit > 0 else { return }
        if let known = numbers[ObjectIdentifier(chain)] {
            guard known < firstValid else { return }
            remove(known)
        }
        while sessions.count >= limit, let oldest { remove(oldest) }
        let number = nextNumber
        nextNumber += 1
        sessions[number] = Session(chain: chain, stored: now, peers: [])
        numbers[ObjectIdentifier(chain)] = number
        assign(peer, to: number)
        link(number)
        rename(number)
    }

    /// The next secret of the youngest session with a host at `address`; used up by this call.
    public mutating func propose(
        to address: IPAddress, allowing teps: [TEP], now: Int64
    ) -> (chain: SecretChain, entry: ChainEntry)? {
        for number in (addresses[address] ?? []).reversed() {
            guard isAlive(number, now), let chain = sessions[number]?.chain, teps.contains(chain.tep),
                let entry = chain.propose()
            else { continue }
            touch(number)
            return (chain, entry)
        }
        return nil
    }

    /// The secret a peer names, whatever address it comes from.
    public mutating func find(
        _ half: HalfID, tep: TEP, now: Int64
    ) -> (chain: SecretChain, entry: ChainEntry)? {
        guard let number = halves[half], isAlive(number, now), let chain = sessions[number]?.chain,
            chain.tep == tep, let entry = chain.find(half)
        else { return nil }
        touch(number)
        return (chain, entry)
    }

    /// Uses up a secret that was found; false where it may not be used (see ``SecretChain/spend(_:)``).
    ///
    /// Works for a session that was evicted meanwhile, too.
    public mutating func spend(_ chain: SecretChain, _ index: Int) -> Bool {
        guard chain.spend(index) else { return false }
        if let number = numbers[ObjectIdentifier(chain)], number >= firstValid { touch(number) }
        return true
    }

    /// Forgets everything: none is found any more. ``erase(atMost:)`` erases the secrets. Connections that use some already keep them.
    public mutating func flush() {
        firstValid = nextNumber
        unerased = sessions.count
    }

    /// Erases sessions that ``flush()`` has forgotten, some at a time, as there may be very many.
    ///
    /// - Returns: whether there are more.
    public mutating func erase(atMost most: Int) -> Bool {
        // Nobody uses them any more: they are the oldest.
        for _ in 0..<most {
            guard let oldest, oldest < firstValid else { break }
            remove(oldest)
        }
        return unerased > 0
    }

    /// Forgets one session (RFC 8548 section 3.5: an application may ask for it).
    public mutating func remove(_ chain: SecretChain) {
        if let number = numbers[ObjectIdentifier(chain)] { remove(number) }
    }

    // MARK: Addresses

    /// Another address of the same peer, proved by an authenticated join or resumption.
    public mutating func learn(_ address: IPAddress, for chain: SecretChain) {
        guard let number = numbers[ObjectIdentifier(chain)], number >= firstValid, let session = sessions[number],
            !session.peers.contains(address), session.peers.count < Self.peerLimit
        else { return }
        assign(address, to: number)
    }

    /// The youngest sessions of an address are proposed to it.
    private mutating func assign(_ address: IPAddress, to number: Int) {
        sessions[number]?.peers.append(address)
        var known = addresses[address] ?? []
        known.append(number)
        if known.count > Self.sessionsPerAddress {
            sessions[known.removeFirst()]?.peers.removeAll { $0 == address }
        }
        addresses[address] = known
    }

    /// Whether there is a session with a host at `address`; it may have expired since.
    public func knows(_ address: IPAddress) -> Bool { addresses[address]?.contains { $0 >= firstValid } ?? false }

    /// For reports, most recently used first.
    public func entries(now: Int64) -> [Entry] {
        var place = 0
        return entries(now: now, from: &place, count: .max).sorted { $0.lastUse > $1.lastUse }
    }

    /// Some of them in no order, from `place` on, which begins with 0 and is moved behind them. If the cache changes meanwhile, one may
    /// come twice.
    public func entries(now: Int64, from place: inout Int, count: Int) -> [Entry] {
        sessions.entries(from: &place, count: count).filter { $0.key >= firstValid }.map { number, session in
            let chain = session.chain
            return Entry(
                tep: chain.tep, aead: chain.aead, role: chain.role, nextIndex: chain.nextIndex, peers: session.peers,
                ageMilliseconds: max(0, now &- session.stored), number: number, lastUse: session.lastUse)
        }
    }

    /// Whether nothing is behind that place.
    public func isEnd(_ place: Int) -> Bool { sessions.isEnd(place) }

    // MARK: Bookkeeping

    /// Removes the session where its time is over.
    private mutating func isAlive(_ number: Int, _ now: Int64) -> Bool {
        guard number >= firstValid, let session = sessions[number] else { return false }
        if now &- session.stored <= maximumAge { return true }
        remove(number)
        return false
    }

    private mutating func touch(_ number: Int) {
        unlink(number)
        link(number)
        rename(number)
    }

    /// Brings ``halves`` in line with what the chain accepts now.
    private mutating func rename(_ number: Int) {
        guard let session = sessions[number], session.namesVersion != session.chain.tableVersion else { return }
        // Each use changes one or two of them.
        let names = session.chain.acceptableHalves
        for name in session.names where !names.contains(name) && halves[name] == number { halves[name] = nil }
        for name in names where !session.names.contains(name) { halves[name] = number }
        sessions[number]?.names = Array(names)
        sessions[number]?.namesVersion = session.chain.tableVersion
    }

    private mutating func forgetNames(_ session: Session, _ number: Int) {
        for name in session.names where halves[name] == number { halves[name] = nil }
    }

    private mutating func remove(_ number: Int) {
        unlink(number)
        guard let session = sessions.removeValue(forKey: number) else { return }
        if number < firstValid { unerased -= 1 }
        numbers[ObjectIdentifier(session.chain)] = nil
        forgetNames(session, number)
        for peer in session.peers {
            addresses[peer]?.removeAll { $0 == number }
            if addresses[peer]?.isEmpty == true { addresses[peer] = nil }
        }
    }

    private mutating func link(_ number: Int) {
        uses += 1
        sessions[number]?.older = newest
        sessions[number]?.newer = nil
        sessions[number]?.lastUse = uses
        if let newest { sessions[newest]?.newer = number }
        newest = number
        oldest = oldest ?? number
    }

    private mutating func unlink(_ number: Int) {
        guard let session = sessions[number] else { return }
        if let newer = session.newer { sessions[newer]?.older = session.older } else { newest = session.older }
        if let older = session.older { sessions[older]?.newer = session.newer } else { oldest = session.newer }
    }
}
