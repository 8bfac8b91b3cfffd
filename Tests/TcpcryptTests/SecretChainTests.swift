import Testing

@testable import Tcpcrypt

/// No secret serves two connections (RFC 8548 section 3.5).
@Suite struct SecretChainTests {
    private func named(_ entry: ChainEntry, by role: Role) -> HalfID { entry.id.half(sentBy: role) }

    @Test func inOrder() throws {
        let (a, b) = try Pair().chains()
        for index in 1...100 {
            let entry = try #require(a.propose())
            #expect(entry.index == index && a.nextIndex == index + 1)
            let found = try #require(b.find(named(entry, by: .a)))
            #expect(found.index == index && found.secret.matches(entry.secret) && found.id == entry.id)
            #expect(b.spend(index))
        }
    }

    /// B names secrets by the other half.
    @Test func theOtherWayRound() throws {
        let (a, b) = try Pair().chains()
        let entry = try #require(b.propose())
        #expect(a.find(named(entry, by: .a)) == nil)
        #expect(a.find(named(entry, by: .b))?.secret.matches(entry.secret) == true)
    }

    @Test func foundUntilSpent() throws {
        let (a, b) = try Pair().chains()
        let half = named(try #require(a.propose()), by: .a)
        for _ in 0..<3 { #expect(b.find(half)?.index == 1) }
        #expect(b.spend(1))
        #expect(!b.spend(1))
        #expect(b.find(half) == nil)
    }

    /// Whoever asks for what was never named gets nothing, and changes nothing.
    @Test func misses() throws {
        let (a, b) = try Pair().chains()
        let random = SeededRandom(31)
        for _ in 0..<1_000 { #expect(b.find(try #require(HalfID(random.bytes(9)))) == nil) }
        #expect(b.nextIndex == 1)
        #expect(!b.spend(1) && !b.spend(0) && !b.spend(-1) && !b.spend(.max))
        #expect(b.find(named(try #require(a.propose()), by: .a)) != nil)
    }

    /// SYNs that overtake each other, and ones that never arrive.
    @Test func reordering() throws {
        let (a, b) = try Pair().chains(lookAhead: 8)
        let entries = (0..<8).compactMap { _ in a.propose() }
        for entry in [entries[7], entries[2], entries[0]] {
            #expect(b.find(named(entry, by: .a))?.secret.matches(entry.secret) == true)
        }
        #expect(b.nextIndex == 9)
        #expect(b.spend(3) && b.spend(8) && b.spend(1))
        #expect(b.find(named(entries[2], by: .a)) == nil)
        #expect(b.find(named(entries[3], by: .a))?.index == 4)
    }

    @Test func lookAheadMovesWithEveryHit() throws {
        let (a, b) = try Pair().chains(lookAhead: 4)
        for round in 1...50 {
            // Three of four SYNs are lost.
            for _ in 0..<3 { _ = a.propose() }
            let entry = try #require(a.propose())
            #expect(b.find(named(entry, by: .a))?.index == 4 * round)
            #expect(b.spend(4 * round))
        }
        for _ in 0..<4 { _ = a.propose() }
        let beyond = try #require(a.propose())
        #expect(b.find(named(beyond, by: .a)) == nil)
    }

    /// Both ends propose the same index at once: both refuse, then go on beyond it.
    @Test func simultaneousProposals() throws {
        let (a, b) = try Pair().chains()
        let fromA = try #require(a.propose())
        let fromB = try #require(b.propose())
        #expect(fromA.index == 1 && fromB.index == 1)
        #expect(a.find(named(fromB, by: .b)) == nil && b.find(named(fromA, by: .a)) == nil)
        #expect(!a.spend(1) && !b.spend(1))
        let next = try #require(a.propose())
        #expect(b.find(named(next, by: .a))?.index == 2)
        #expect(try #require(b.propose()).index == 3)
    }

    /// What the peer named is not proposed, spent or not.
    @Test func namedIsNotProposed() throws {
        let (a, b) = try Pair().chains()
        let entry = try #require(a.propose())
        #expect(b.find(named(entry, by: .a)) != nil)
        #expect(try #require(b.propose()).index == 2)
        #expect(b.spend(1))
    }

    @Test func limit() throws {
        let pair = try Pair()
        let chain = { (end: ConnectionSecret, role: Role) in
            end.joinChain(
                provider, opener: .a, localRole: role, tokenA: 1, tokenB: 2, lookAhead: 256, limit: 3)
        }
        let (a, b) = (chain(pair.a, .a), chain(pair.b, .b))
        for index in 1...3 {
            let entry = try #require(a.propose())
            #expect(b.find(named(entry, by: .a))?.index == index)
            #expect(b.spend(index))
        }
        #expect(a.propose() == nil && a.isExhausted && b.propose() == nil && b.isExhausted)
    }

    private func joinChains(lookAhead: Int) throws -> (a: SecretChain, b: SecretChain) {
        let pair = try Pair()
        let chain = { (end: ConnectionSecret, role: Role) in
            end.joinChain(
                provider, opener: .a, localRole: role, tokenA: 1, tokenB: 2, lookAhead: lookAhead, limit: 1 << 20)
        }
        return (chain(pair.a, .a), chain(pair.b, .b))
    }

    /// Join attempts that never prove themselves make room for new ones.
    @Test func oldJoinsMakeRoom() throws {
        let (a, b) = try joinChains(lookAhead: 16)
        var halves: [HalfID] = []
        for _ in 0..<1_000 {
            let entry = try #require(a.propose())
            let half = named(entry, by: .a)
            a.noteAnswer(to: entry)
            halves.append(half)
            #expect(b.find(half) != nil)
        }
        #expect(b.acceptableHalves.count == 128 + 16)
        #expect(b.find(halves[0]) == nil && !b.spend(1) && !b.spend(872))
        #expect(b.spend(873) && b.spend(1_000))
    }

    /// Whoever filters the SYNs of joins cannot bring the two ends so far apart that they never find each other again.
    @Test func filteredJoinsDoNotLoseThePeer() throws {
        let (a, b) = try joinChains(lookAhead: 16)
        for round in 0..<3 {
            var lost: [Int] = []
            for _ in 0..<100 { lost.append(try #require(a.propose()).index) }
            #expect(Set(lost) == Set(17 * round + 1...17 * round + 16))
            let entry = try #require(a.propose())
            let found = try #require(b.find(named(entry, by: .a)))
            #expect(found.index == entry.index && found.secret.matches(entry.secret) && b.spend(found.index))
            a.noteAnswer(to: entry)
            // The next goes beyond all that was named.
            let next = try #require(a.propose())
            #expect(next.index == 17 * round + 17 && b.find(named(next, by: .a)) != nil && b.spend(next.index))
            a.noteAnswer(to: next)
        }
    }

    /// A look at the bytes of an option misses no name that taking it apart finds, and changes nothing.
    @Test func standingsAgreeWithWhatAConnectionComesTo() throws {
        let (a, b) = try joinChains(lookAhead: 16)
        let random = SeededRandom(34)
        var resumed = 0
        for round in 0..<5_000 {
            let entry = round % 3 == 0 ? nil : a.propose()
            let half = entry.map { named($0, by: .a) } ?? HalfID(random.bytes(9))
            let name = SYNFormENO.Suboption(
                identifier: round % 7 == 0 ? 0x22 : TEP.curve25519.rawValue,
                data: try #require(half).bytes + random.bytes(round % 9))
            let others = random.bytes(round % 5).map { SYNFormENO.Suboption(identifier: 0x20 | $0 & 0x5f) }
            let place = round % (others.count + 1)
            let option = SYNFormENO(
                global: round % 11 == 0 ? 2 : 0, suboptions: others[..<place] + [name] + others[place...]
            ).encoded()
            let before = b.nextIndex
            let standing = b.standing(ofNamesIn: option.span)
            #expect(b.nextIndex == before)
            let outcome = ENOAnswer.answer(to: option.span, teps: [.curve25519]) { half, tep, _ in
                guard tep == b.tep, let entry = b.find(half), let number = b.admitAttempt(entry.index) else {
                    return nil
                }
                return ResumptionMatch(chain: b, entry: entry, nonce: [number])
            }
            if case .resumed(let match, _, _, _) = outcome {
                #expect(standing == .open && b.spend(match.entry.index))
                entry.map { a.noteAnswer(to: $0) }
                resumed += 1
            } else if standing == .open {
                // The name is there, but what stands beside it forbids its use.
                #expect(others.contains { $0.identifier == TEP.curve25519.rawValue })
            }
        }
        #expect(resumed > 1_000)
    }

    @Test func attemptsAreCountedByStandings() throws {
        let (a, b) = try joinChains(lookAhead: 16)
        let entry = try #require(a.propose())
        let name = SYNFormENO.Suboption.resumption(a.tep, named(entry, by: .a), nonce: [])
        let option = SYNFormENO(global: 0, suboptions: [name]).encoded()
        for _ in 0..<SecretChain.mostAttempts {
            #expect(b.standing(ofNamesIn: option.span) == .open)
            let found = try #require(b.find(named(entry, by: .a)))
            #expect(b.admitAttempt(found.index) != nil)
        }
        #expect(b.standing(ofNamesIn: option.span) == .triedTooOften)
        #expect(b.spend(entry.index))
        #expect(b.standing(ofNamesIn: option.span) == .unknown)
        for count in 0..<option.count {
            #expect(b.standing(ofNamesIn: option.span.extracting(first: count)) == .unknown)
        }
    }

    /// A session that was promised to a connection stays; beyond a limit no more are promised.
    @Test func promisedSessionsStay() throws {
        let (a, b) = try Pair().chains(lookAhead: 16)
        let halves = try (0..<200).map { _ in named(try #require(a.propose()), by: .a) }
        for (index, half) in halves.enumerated() { #expect((b.find(half) != nil) == (index < 128)) }
        #expect(b.find(halves[0]) != nil)
        #expect(b.spend(1))
        #expect(b.find(halves[128]) != nil && b.find(halves[129]) == nil)
        for index in 2...129 { #expect(b.spend(index)) }
        #expect(b.acceptableHalves.count == 16)
    }

    /// Skipped secrets do not pile up, and do not push promised ones out.
    @Test func skippedSecretsGo() throws {
        let (a, b) = try Pair().chains(lookAhead: 16)
        for round in 1...100 {
            for _ in 0..<15 { _ = a.propose() }
            #expect(b.find(named(try #require(a.propose()), by: .a))?.index == 16 * round)
        }
        #expect(b.acceptableHalves.count == 100 + 128 + 16)
        for round in 1...100 { #expect(b.spend(16 * round)) }
        #expect(b.acceptableHalves.count == 128 + 16)
        #expect(!b.spend(1) && b.spend(1_599))
    }

    /// Chains for different purposes share nothing.
    @Test func separation() throws {
        let pair = try Pair()
        var seen: Set<ResumptionID> = []
        let join = { (opener: Role, tokenA: UInt32, tokenB: UInt32) in
            pair.a.joinChain(
                provider, opener: opener, localRole: .a, tokenA: tokenA, tokenB: tokenB, lookAhead: 4, limit: 9)
        }
        let chains = [
            pair.a.sessionChain(provider, lookAhead: 4), join(.a, 1, 2), join(.b, 1, 2), join(.a, 2, 1),
            join(.a, 1, 3),
        ]
        for chain in chains {
            for _ in 0..<5 {
                let entry = try #require(chain.propose())
                seen.insert(entry.id)
                chain.noteAnswer(to: entry)
            }
        }
        #expect(seen.count == 25)
    }

    /// Random use from both ends: no index is granted twice, whichever way, and what one end accepts the other
    /// end proposed.
    @Test(arguments: 0..<20 as Range<UInt64>)
    func neverTwice(_ seed: UInt64) throws {
        let random = SeededRandom(seed)
        let (a, b) = try Pair(seed: seed).chains(lookAhead: 1 + random.below(12))
        var flying: [(role: Role, entry: ChainEntry)] = []
        var granted: Set<Int> = []
        for _ in 0..<400 {
            switch random.below(4) {
            case 0, 1:
                let role: Role = random.below(2) == 0 ? .a : .b
                flying.append((role, try #require((role == .a ? a : b).propose())))
            case 2 where !flying.isEmpty:
                _ = flying.remove(at: random.below(flying.count))
            default:
                guard let (role, entry) = flying.isEmpty ? nil : flying[random.below(flying.count)] else { continue }
                let acceptor = role == .a ? b : a
                guard let found = acceptor.find(named(entry, by: role)) else { continue }
                #expect(found.index == entry.index && found.secret.matches(entry.secret))
                if random.below(2) == 0, acceptor.spend(found.index) {
                    #expect(granted.insert(found.index).inserted)
                }
            }
        }
        #expect(!granted.isEmpty)
    }
}
