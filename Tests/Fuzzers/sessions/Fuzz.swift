import PacketWire
import Tcpcrypt

private let crypto = ToyCrypto()

/// Any order of what can happen to a session cache, beside a simple model of it, and with peers that have the other ends.
///
/// Checked: proposals are those of the model, with the lowest index nobody has used; what a peer names is found where it can be, and
/// is that secret; no secret is granted twice, whoever proposed it; roles stay; lists, counts and limits are the model's.
func fuzz(_ input: [UInt8]) {
    var choices = Choices(input)
    let world = World(limit: choices.below(20), lookAhead: 1 + choices.below(8))
    while !choices.isEmpty { world.step(&choices) }
    world.compare()
}

private final class World {
    /// One original session: our end, which the cache may have, and the peer's.
    private final class Session {
        let ours: SecretChain
        let theirs: SecretChain
        var proposed: Set<Int> = []
        var granted: Set<Int> = []

        init(_ ours: SecretChain, _ theirs: SecretChain) {
            self.ours = ours
            self.theirs = theirs
        }
    }

    private struct Named {
        let session: Session
        let entry: ChainEntry
    }

    private var cache: SessionCache
    private var model: Model
    private let limit: Int
    private let lookAhead: Int
    private let maximumAge: Int64 = 1_000
    private var sessions: [Session] = []
    /// What peers have named, and what of it was found here.
    private var named: [Named] = []
    private var found: [Named] = []
    private var now: Int64 = 0

    init(limit: Int, lookAhead: Int) {
        self.limit = limit
        self.lookAhead = lookAhead
        cache = SessionCache(
            limit: limit, lookAhead: lookAhead, maximumAgeMilliseconds: maximumAge, crypto: crypto)
        model = Model(limit: limit, lookAhead: lookAhead, maximumAge: maximumAge)
    }

    func step(_ choices: inout Choices) {
        let choice = choices.byte()
        let which = choices.byte()
        switch choice & 0x0f {
        case 0: store(which)
        case 1: if let session = any(which) { keep(session, address(choice >> 4)) }
        case 2, 3: propose(endpoint(which))
        case 4: name(which, times: 1)
        case 5: name(which, times: 1 + Int(choice >> 4))
        case 6, 7: find(which)
        case 8: spend(which)
        case 9: if let session = any(which) { learn(session, address(choice >> 4)) }
        case 10: if let session = any(which) { noteAnswer(session, endpoint(choices.byte()), choice >> 7 == 0) }
        case 11: now += Int64(which) * (choice >> 7 == 0 ? 1 : 8)
        case 12: rare(choice >> 4, which)
        case 13: erase(1 + Int(which & 7))
        case 14: compare()
        default: strange(which)
        }
        require(cache.count == model.valid.count, "as many sessions as in the model")
        require(cache.count <= limit, "no more than the limit")
    }

    private func any(_ which: UInt8) -> Session? { sessions.isEmpty ? nil : sessions[Int(which) % sessions.count] }
    private func address(_ which: UInt8) -> IPAddress {
        which & 4 == 0
            ? IPAddress(ipv4: 0x0a00_0000 | UInt32(which & 3)) : IPAddress(ipv6High: 1, low: UInt64(which & 3))
    }
    private func endpoint(_ which: UInt8) -> Endpoint {
        Endpoint(address: address(which), port: UInt16(which >> 3 & 7))
    }

    // MARK: Operations

    private func store(_ which: UInt8) {
        guard sessions.count < 24, let (a, b) = makeSession(sessions.count, lookAhead) else { return }
        let session = which & 8 == 0 ? Session(a, b) : Session(b, a)
        sessions.append(session)
        keep(session, address(which))
    }

    private func keep(_ session: Session, _ address: IPAddress) {
        cache.store(session.ours, peer: address, now: now)
        model.store(session.ours, address, now)
    }

    private func propose(_ endpoint: Endpoint) {
        let expected = model.propose(endpoint, now)
        let lowest = expected?.nextIndex
        let proposal = cache.propose(to: endpoint, allowing: [.curve25519], now: now)
        require(proposal?.chain === expected, "the session that the model proposes")
        guard let proposal, let session = sessions.first(where: { $0.ours === proposal.chain }) else { return }
        require(proposal.entry.index == lowest, "the lowest index that nobody has used")
        require(session.proposed.insert(proposal.entry.index).inserted, "proposed once")
        require(!session.granted.contains(proposal.entry.index), "not what the peer used")
        // The peer may find it, unless it proposes the same one.
        let half = proposal.entry.id.half(sentBy: session.ours.role)
        guard let hit = session.theirs.find(half) else { return }
        require(hit.index == proposal.entry.index && hit.secret.matches(proposal.entry.secret), "the secret it names")
        if session.theirs.spend(hit.index) { grant(session, hit.index) }
    }

    /// The peer proposes, and all but the last of it get lost.
    private func name(_ which: UInt8, times: Int) {
        guard let session = any(which) else { return }
        for turn in 1...times {
            guard let entry = session.theirs.propose(), turn == times else { continue }
            named.append(Named(session: session, entry: entry))
        }
    }

    private func find(_ which: UInt8) {
        guard !named.isEmpty else { return }
        let attempt = named[Int(which) % named.count]
        let (session, entry) = (attempt.session, attempt.entry)
        // In a short chain nothing has to make room.
        guard session.ours.nextIndex < 120 else { return }
        let isUsed = session.proposed.contains(entry.index) || session.granted.contains(entry.index)
        let isNear = entry.index - session.ours.nextIndex < lookAhead
        let known = model.session(of: session.ours)
        let isAlive = known.map { !model.isOver($0, now) } ?? false
        let hit = cache.find(entry.id.half(sentBy: session.theirs.role), tep: .curve25519, now: now)
        if let known, !isUsed, isNear { _ = model.use(known.number, now) }
        guard let hit else { return require(!isAlive || isUsed || !isNear, "what can be found is found") }
        require(isAlive && !isUsed, "nothing old, forgotten or used is found")
        require(hit.chain === session.ours && hit.entry.index == entry.index, "the session it names")
        require(hit.entry.secret.matches(entry.secret), "the secret it names")
        require(hit.chain.role == session.theirs.role.other, "roles stay")
        found.append(attempt)
    }

    private func spend(_ which: UInt8) {
        guard !found.isEmpty else { return }
        let attempt = found[Int(which) % found.count]
        if cache.spend(attempt.session.ours, attempt.entry.index) {
            model.spent(attempt.session.ours)
            require(!attempt.session.proposed.contains(attempt.entry.index), "not what was proposed here")
            grant(attempt.session, attempt.entry.index)
        } else {
            require(
                attempt.session.granted.contains(attempt.entry.index), "what was found can be spent")
        }
        require(!cache.spend(attempt.session.ours, attempt.entry.index), "and once only")
    }

    private func grant(_ session: Session, _ index: Int) {
        require(session.granted.insert(index).inserted, "no secret protects two connections")
    }

    private func learn(_ session: Session, _ address: IPAddress) {
        cache.learn(address, for: session.ours)
        model.learn(address, session.ours)
    }

    private func noteAnswer(_ session: Session, _ endpoint: Endpoint, _ isGood: Bool) {
        if isGood {
            cache.noteSuccess(of: session.ours, at: endpoint)
            model.noteSuccess(session.ours, endpoint)
        } else {
            cache.noteRefusal(of: session.ours, at: endpoint)
            model.noteRefusal(session.ours, endpoint)
        }
    }

    private func rare(_ what: UInt8, _ which: UInt8) {
        switch what & 3 {
        case 0:
            cache.flush()
            model.flush()
        case 1:
            guard let session = any(which) else { return }
            cache.remove(session.ours)
            model.forget(session.ours)
        default:
            guard let prefix = IPPrefix(address(which), length: what & 1 == 0 ? 32 : 31) else { return }
            var (place, count) = (0, 0)
            while !cache.isEnd(place) { count += cache.remove(peersIn: prefix, from: &place, count: 1) }
            require(count == model.remove(prefix), "all sessions of those peers")
        }
    }

    private func erase(_ most: Int) {
        var rounds = 0
        while cache.erase(atMost: most, now: now) { rounds += 1 }
        require(rounds <= 2 + sessions.count + limit, "erasing comes to an end")
        model.erase(now)
    }

    /// Names that nobody has.
    private func strange(_ which: UInt8) {
        let bytes = [UInt8](repeating: which, count: HalfID.length)
        guard let half = HalfID(bytes.span) else { return }
        require(cache.find(half, tep: .curve25519, now: now) == nil, "an unknown name is not found")
    }

    func compare() {
        let expected = model.valid.filter { !model.isOver($0, now) }.reversed()
        let entries = cache.entries(now: now)
        require(entries.count == expected.count, "the report has every session")
        for (entry, session) in zip(entries, expected) {
            require(
                entry.number == session.number && entry.peers == session.peers, "in the model's order, with its peers")
            require(entry.role == session.chain.role && entry.nextIndex == session.chain.nextIndex, "as it is")
            require(entry.ageMilliseconds == now - session.stored, "of its age")
        }
        for which in 0..<8 as Range<UInt8> {
            require(cache.knows(address(which)) == model.knows(address(which)), "addresses are the model's")
        }
    }
}

private func makeSession(_ number: Int, _ lookAhead: Int) -> (SecretChain, SecretChain)? {
    let random = ToyRandom(UInt64(number) + 1)
    let a = KeyExchangeA(tep: .curve25519, aeads: [.aes128GCM], transcript: [1], crypto: crypto, random: random)
    guard
        let b = try? KeyExchangeB(
            init1: a.init1.span, tep: .curve25519, aeads: [.aes128GCM], transcript: [1], crypto: crypto, random: random),
        let (ours, theirs) = try? (a.finish(init2: b.init2.span), b.finish())
    else { fatalError("the toy key exchange works") }
    return (ours.sessionChain(crypto, lookAhead: lookAhead), theirs.sessionChain(crypto, lookAhead: lookAhead))
}
