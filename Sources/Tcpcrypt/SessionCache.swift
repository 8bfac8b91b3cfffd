public import PacketWire
import Tables

/// The sessions of one host that later connections may resume (RFC 8548 section 3.5), in memory only.
///
/// A session is known by the names of its secrets, not by an address; addresses and ports only tell the active opener
/// which session to propose. Bounded: the least recently used session goes first. Times are milliseconds on any
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
        /// Addresses known to be the same peer's, the latest last.
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
        /// Proposals to places where it has never worked since it worked anywhere.
        var strayProposals = 0
    }

    /// How many secrets of a session ahead of the last one used are recognised.
    public let lookAhead: Int
    private let limit: Int
    private let maximumAge: Int64
    private var sessions = SteadyTable<Int, Session>()
    private var numbers = SteadyTable<ObjectIdentifier, Int>()
    private var halves = SteadyTable<HalfID, Int>()
    /// The sessions to propose to an address, the one that worked there last at the end.
    private var addresses = SteadyTable<IPAddress, [Int]>()
    private var places: SessionPlaces
    private var nextNumber = 0
    /// No session has a lower number.
    private var lowestNumber = 0
    private var uses: UInt64 = 0
    /// Sessions below are forgotten, but ``erase(atMost:)`` has not come to all of them: so many are left.
    private var firstValid = 0
    private var unerased = 0
    /// The ends of the list by use.
    private var newest: Int?
    private var oldest: Int?

    /// A peer's addresses that are remembered for one session.
    private static let peerLimit = 32
    /// Sessions that may be proposed to one address: many peers may share it, but what each of them names is found all the same.
    private static let sessionsPerAddress = 16
    /// Every proposal uses up a secret. Where nobody takes them, as at ports where another host answers or none, they must not take the
    /// session out of the reach of the peer who has it.
    private var mostStrayProposals: Int { max(1, lookAhead / 2) }

    /// - Parameters:
    ///   - limit: sessions kept at most.
    ///   - lookAhead: how far ahead a peer may be in a session's secrets; for ``store(_:peer:now:)``'s callers.
    ///   - maximumAgeMilliseconds: since the original key exchange.
    ///   - crypto: what the chains use.
    public init(limit: Int, lookAhead: Int, maximumAgeMilliseconds: Int64, crypto: any CryptoProvider) {
        self.limit = max(0, limit)
        self.lookAhead = lookAhead
        maximumAge = maximumAgeMilliseconds
        places = SessionPlaces(limit: self.limit)
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

    /// The next secret of the session that worked last with this address and port, else with this address; used up by this call.
    ///
    /// Nil also where sessions with the address are known, but whoever is at the port has declined them, or nobody has answered often
    /// enough: fresh keys make a session for it. And where a better TEP than the session's may be had, for a SYN that names a session offers no other.
    public mutating func propose(
        to endpoint: Endpoint, allowing teps: [TEP], now: Int64
    ) -> (chain: SecretChain, entry: ChainEntry)? {
        if let number = places.working(at: endpoint), let found = propose(number, teps, now) { return found }
        let declined = places.declined(at: endpoint)
        for number in (addresses[endpoint.address] ?? []).reversed() where !declined.contains(number) {
            guard let strays = sessions[number]?.strayProposals, strays < mostStrayProposals,
                let found = propose(number, teps, now)
            else { continue }
            sessions[number]?.strayProposals = strays + 1
            return found
        }
        return nil
    }

    private mutating func propose(
        _ number: Int, _ teps: [TEP], _ now: Int64
    ) -> (chain: SecretChain, entry: ChainEntry)? {
        guard isAlive(number, now), let chain = sessions[number]?.chain, teps.contains(chain.tep),
            chain.isConfirmed || chain.tep == teps.first, let entry = chain.propose()
        else { return nil }
        touch(number)
        return (chain, entry)
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
        if let number = valid(chain) {
            // Both ends agree again where the chain is.
            sessions[number]?.strayProposals = 0
            touch(number)
        }
        return true
    }

    /// Forgets everything: none is found any more. ``erase(atMost:)`` erases the secrets. Connections that use some already keep them.
    public mutating func flush() {
        firstValid = nextNumber
        unerased = sessions.count
    }

    /// Erases sessions that ``flush()`` has forgotten and those whose time is over, some at a time, as there may be very many.
    ///
    /// - Returns: whether there may be more.
    public mutating func erase(atMost most: Int, now: Int64) -> Bool {
        // Numbers grow with the time of storage. Of most nothing is left: they cost nearly nothing.
        var erased = 0
        for _ in 0..<64 * most where erased < most {
            guard lowestNumber < nextNumber else { return false }
            if let session = sessions[lowestNumber] {
                guard lowestNumber < firstValid || isOver(session, now) else { return false }
                remove(lowestNumber)
                erased += 1
            }
            lowestNumber += 1
        }
        return true
    }

    /// Forgets one session (RFC 8548 section 3.5: an application may ask for it).
    public mutating func remove(_ chain: SecretChain) {
        if let number = numbers[ObjectIdentifier(chain)] { remove(number) }
    }

    /// Forgets sessions with a peer in `prefix`, of those at `place` and behind it, which begins with 0 and is moved on.
    ///
    /// - Parameter count: to look at, and some more.
    /// - Returns: how many were forgotten.
    public mutating func remove(peersIn prefix: IPPrefix, from place: inout Int, count: Int) -> Int {
        var removed = 0
        for (number, session) in sessions.entries(from: &place, count: count)
        where number >= firstValid && session.peers.contains(where: prefix.contains) {
            remove(number)
            removed += 1
        }
        return removed
    }

    // MARK: Addresses

    /// An address of the peer, proved by an authenticated join or resumption: sessions that worked there last are proposed first.
    public mutating func learn(_ address: IPAddress, for chain: SecretChain) {
        if let number = valid(chain) { assign(address, to: number) }
    }

    /// The peer of `chain` is where a connection was opened to: it took the proposal, or made the session there.
    public mutating func noteSuccess(of chain: SecretChain, at endpoint: Endpoint) {
        guard let number = valid(chain) else { return }
        sessions[number]?.strayProposals = 0
        assign(endpoint.address, to: number)
        places.noteSuccess(of: number, at: endpoint)
    }

    /// Whoever answered there did not take the proposal; elsewhere the session is as good as before.
    public mutating func noteRefusal(of chain: SecretChain, at endpoint: Endpoint) {
        if let number = valid(chain) { places.noteRefusal(of: number, at: endpoint) }
    }

    private mutating func assign(_ address: IPAddress, to number: Int) {
        if sessions[number]?.peers.contains(address) == false {
            sessions[number]?.peers.append(address)
            if let peers = sessions[number]?.peers, peers.count > Self.peerLimit {
                sessions[number]?.peers.removeFirst()
                unlist(number, at: peers[0])
            }
        }
        var known = addresses[address] ?? []
        known.removeAll { $0 == number }
        known.append(number)
        if known.count > Self.sessionsPerAddress { known.removeFirst() }
        addresses[address] = known
    }

    private mutating func unlist(_ number: Int, at address: IPAddress) {
        addresses[address]?.removeAll { $0 == number }
        if addresses[address]?.isEmpty == true { addresses[address] = nil }
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
        sessions.entries(from: &place, count: count).filter { $0.key >= firstValid && !isOver($0.value, now) }.map {
            number, session in
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
        guard isOver(session, now) else { return true }
        remove(number)
        return false
    }

    private func isOver(_ session: Session, _ now: Int64) -> Bool { now &- session.stored > maximumAge }

    /// The session's number, unless it is not here any more.
    private func valid(_ chain: SecretChain) -> Int? {
        numbers[ObjectIdentifier(chain)].flatMap { $0 >= firstValid ? $0 : nil }
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
        for peer in session.peers { unlist(number, at: peer) }
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
