import PacketWire
import Testing

@testable import Tcpcrypt

/// Hosts that open connections to each other at random, over a network that loses, delays and repeats SYNs, and that forget everything
/// now and then. Two of them are behind one address.
///
/// No secret ever protects two connections, whoever opened them. Roles stay those of the first connection. What one end proposes the
/// other recognises for as long as it can. Keys agree.
@Suite struct SessionPropertyTests {
    @Test(arguments: 0..<60 as Range<UInt64>)
    func anyOrderOfEvents(_ seed: UInt64) throws {
        let world = SessionWorld(seed)
        for _ in 0..<300 { try world.step() }
        try world.settle()
        #expect(world.granted.count > 20)
    }
}

private final class SessionHost {
    let endpoint: Endpoint
    var cache: SessionCache
    /// Its ends of sessions that it has not forgotten.
    var chains: Set<ObjectIdentifier> = []

    static let lookAhead = 6
    static func emptyCache() -> SessionCache {
        SessionCache(limit: 1_000, lookAhead: lookAhead, maximumAgeMilliseconds: 1 << 40, crypto: provider)
    }

    init(_ endpoint: Endpoint) {
        self.endpoint = endpoint
        cache = Self.emptyCache()
    }
}

private final class SessionWorld {
    /// A SYN that proposes a secret.
    private struct Attempt {
        let opener: SessionHost
        let acceptor: SessionHost
        let chain: SecretChain
        let entry: ChainEntry
        let nonce: [UInt8]
        let offer: ENOOffer
    }

    private struct Name: Hashable {
        let id: ResumptionID
        let role: Role
    }

    private let random: SeededRandom
    private let hosts = [SessionHost(.test(1, 7)), SessionHost(.test(2, 1)), SessionHost(.test(2, 2))]
    private var flying: [Attempt] = []
    private var proposed: Set<Name> = []
    /// What protects, or has protected, a connection.
    private(set) var granted: Set<ResumptionID> = []
    private var other: [ObjectIdentifier: SecretChain] = [:]
    private var kept: [SecretChain] = []
    private var now: Int64 = 0

    init(_ seed: UInt64) { random = SeededRandom(seed) }

    private func anyPair() -> (SessionHost, SessionHost) {
        let server = hosts[1 + random.below(2)]
        return random.below(3) > 0 ? (hosts[0], server) : (server, hosts[0])
    }

    func step() throws {
        now += Int64(random.below(50))
        switch random.below(12) {
        case 0..<5:
            let (opener, acceptor) = anyPair()
            try open(from: opener, to: acceptor)
        case 5..<9 where !flying.isEmpty:
            let index = random.below(flying.count)
            let attempt = flying[index]
            // Some SYNs come twice, and some SYN-ACKs get lost.
            if random.below(5) > 0 { flying.remove(at: index) }
            try deliver(attempt, isAnswerLost: random.below(6) == 0)
        case 9..<11 where !flying.isEmpty:
            flying.remove(at: random.below(flying.count))
        case 11 where random.below(12) == 0:
            let host = hosts[random.below(3)]
            host.cache = SessionHost.emptyCache()
            host.chains = []
            flying.removeAll { $0.opener === host }
        default: break
        }
    }

    /// Without losses everybody resumes again, after one connection at most.
    func settle() throws {
        flying = []
        for (opener, acceptor) in [(0, 1), (0, 2), (1, 0), (2, 0)].map({ (hosts[$0], hosts[$1]) }) {
            for round in 0..<3 {
                try open(from: opener, to: acceptor)
                let isResumed = try flying.popLast().map { try deliver($0, isAnswerLost: false) } ?? false
                #expect(isResumed || round == 0)
            }
        }
    }

    private func open(from opener: SessionHost, to acceptor: SessionHost) throws {
        let proposal = opener.cache.propose(to: acceptor.endpoint, allowing: [.curve25519], now: now)
        guard let (chain, entry) = proposal else { return try exchangeKeys(opener, acceptor) }
        #expect(opener.chains.contains(ObjectIdentifier(chain)))
        #expect(proposed.insert(Name(id: entry.id, role: chain.role)).inserted)
        #expect(!granted.contains(entry.id))
        let nonce = random.bytes(random.below(9))
        let offer = ENOOffer.resuming(entry, of: chain, nonce: nonce)
        flying.append(
            Attempt(opener: opener, acceptor: acceptor, chain: chain, entry: entry, nonce: nonce, offer: offer))
    }

    /// - Returns: whether the session was resumed.
    @discardableResult
    private func deliver(_ attempt: Attempt, isAnswerLost: Bool) throws -> Bool {
        let (opener, acceptor) = (attempt.opener, attempt.acceptor)
        let isExpected = canBeFound(attempt)
        let answer = ENOAnswer.answer(to: attempt.offer.option.span, teps: [.curve25519]) { half, tep, _ in
            guard let found = acceptor.cache.find(half, tep: tep, now: now) else { return nil }
            return ResumptionMatch(chain: found.chain, entry: found.entry, nonce: random.bytes(4 + random.below(5)))
        }
        switch answer {
        case .resumed(let match, let peerNonce, let option, _):
            #expect(isExpected)
            #expect(match.chain === other[ObjectIdentifier(attempt.chain)])
            #expect(match.chain.role == attempt.chain.role.other && match.entry.index == attempt.entry.index)
            #expect(!proposed.contains(Name(id: match.entry.id, role: match.chain.role)), "crossed")
            #expect(peerNonce == attempt.nonce)
            if isAnswerLost { return false }
            try establish(attempt, match, option)
            return true
        case .fresh(_, let option, _):
            #expect(!isExpected)
            if isAnswerLost || granted.contains(attempt.entry.id) { return false }
            guard case .fresh = attempt.offer.conclude(answer: option.span) else { throw Unexpected.answer }
            opener.cache.noteRefusal(of: attempt.chain, at: acceptor.endpoint)
            try exchangeKeys(opener, acceptor)
            return false
        case .disabled: throw Unexpected.answer
        }
    }

    /// The peer has the session, has neither spent nor proposed the secret, and is not too far behind.
    private func canBeFound(_ attempt: Attempt) -> Bool {
        guard let peer = other[ObjectIdentifier(attempt.chain)],
            attempt.acceptor.chains.contains(ObjectIdentifier(peer))
        else { return false }
        return !granted.contains(attempt.entry.id)
            && !proposed.contains(Name(id: attempt.entry.id, role: peer.role))
            && attempt.entry.index - peer.nextIndex < SessionHost.lookAhead
    }

    private func establish(_ attempt: Attempt, _ match: ResumptionMatch, _ option: [UInt8]) throws {
        let (opener, acceptor) = (attempt.opener, attempt.acceptor)
        guard case .resumed(let nonce, _) = attempt.offer.conclude(answer: option.span) else { throw Unexpected.answer }
        #expect(nonce == match.nonce)
        let ends = (
            ConnectionSecret(
                resuming: attempt.entry, of: attempt.chain,
                sessionNonce: ConnectionSecret.sessionNonce(of: attempt.chain, local: attempt.nonce, peer: nonce)),
            ConnectionSecret(
                resuming: match.entry, of: match.chain,
                sessionNonce: ConnectionSecret.sessionNonce(of: match.chain, local: match.nonce, peer: attempt.nonce))
        )
        #expect(ends.0.sessionID(provider) == ends.1.sessionID(provider))
        #expect(ends.0.keyRole == attempt.chain.role && ends.1.keyRole == ends.0.keyRole.other)
        let frame = try #require(ends.0.ends.sealer.frame([1, 2, 3], offset: 0))
        #expect(ends.1.ends.opener.data(frame, offset: 0)?.data == [1, 2, 3])
        opener.cache.noteSuccess(of: attempt.chain, at: acceptor.endpoint)
        let isSpent = acceptor.cache.spend(match.chain, match.entry.index)
        acceptor.cache.learn(opener.endpoint.address, for: match.chain)
        #expect(isSpent && granted.insert(attempt.entry.id).inserted)
    }

    private func exchangeKeys(_ opener: SessionHost, _ acceptor: SessionHost) throws {
        let (a, b) = try Pair(seed: random.next()).chains(lookAhead: SessionHost.lookAhead)
        opener.cache.store(a, peer: acceptor.endpoint.address, now: now)
        opener.cache.noteSuccess(of: a, at: acceptor.endpoint)
        acceptor.cache.store(b, peer: opener.endpoint.address, now: now)
        (other[ObjectIdentifier(a)], other[ObjectIdentifier(b)]) = (b, a)
        kept += [a, b]
        opener.chains.insert(ObjectIdentifier(a))
        acceptor.chains.insert(ObjectIdentifier(b))
    }

    private enum Unexpected: Error { case answer }
}
