import PacketWire
import Testing

@testable import Tcpcrypt

@Suite struct SessionCacheTests {
    private let day: Int64 = 86_400_000

    private func cache(limit: Int = 100) -> SessionCache {
        SessionCache(limit: limit, lookAhead: 8, maximumAgeMilliseconds: day, crypto: provider)
    }

    @Test func proposeFindSpend() throws {
        var (client, server) = (cache(), cache())
        let (a, b) = try Pair().chains(lookAhead: 8)
        client.store(a, peer: .test(2), now: 0)
        server.store(b, peer: .test(1), now: 0)
        for index in 1...50 {
            let proposal = client.propose(to: .test(2), allowing: [.curve25519], now: 5)
            let (chain, entry) = try #require(proposal)
            #expect(chain === a && entry.index == index)
            let hit = server.find(entry.id.a, tep: .curve25519, now: 5)
            let found = try #require(hit)
            #expect(found.chain === b && found.entry.index == index)
            client.noteSuccess(of: chain, at: .test(2))
            let (first, second) = (server.spend(found.chain, index), server.spend(found.chain, index))
            #expect(first && !second)
            let again = server.find(entry.id.a, tep: .curve25519, now: 5)
            #expect(again == nil)
        }
    }

    /// What is recognised moves on with every name, also where the connections come to nothing.
    @Test func lookAheadMovesWithoutSuccess() throws {
        var server = cache()
        let (a, b) = try Pair().chains(lookAhead: 8)
        server.store(b, peer: .test(1), now: 0)
        for index in 1...100 {
            let half = try #require(a.propose()).id.a
            let found = index % 8 == 0 ? server.find(half, tep: .curve25519, now: 0) : nil
            #expect(found?.entry.index == (index % 8 == 0 ? index : nil))
        }
    }

    /// The TEP of the suboption must be the session's (RFC 8548 section 3.5).
    @Test func tepMustMatch() throws {
        var server = cache()
        let (a, b) = try Pair().chains()
        server.store(b, peer: .test(1), now: 0)
        let entry = try #require(a.propose())
        let (other, own) = (
            server.find(entry.id.a, tep: .p256, now: 0), server.find(entry.id.a, tep: .curve25519, now: 0)
        )
        #expect(other == nil && own != nil)
        let refused = server.propose(to: .test(1), allowing: [.p256], now: 0)
        #expect(refused == nil)
    }

    /// Indices proposed and accepted by one host exclude each other, through the cache too.
    @Test func bothDirections() throws {
        var (left, right) = (cache(), cache())
        let (a, b) = try Pair().chains(lookAhead: 8)
        left.store(a, peer: .test(2), now: 0)
        right.store(b, peer: .test(1), now: 0)
        var used: Set<Int> = []
        for step in 0..<40 {
            if step % 2 == 0 {
                let proposal = left.propose(to: .test(2), allowing: [.curve25519], now: 0)
                let entry = try #require(proposal).entry
                let found = right.find(entry.id.a, tep: .curve25519, now: 0)
                let spent = right.spend(try #require(found).chain, entry.index)
                #expect(spent && used.insert(entry.index).inserted)
            } else {
                let proposal = right.propose(to: .test(1), allowing: [.curve25519], now: 0)
                let entry = try #require(proposal).entry
                let found = left.find(entry.id.b, tep: .curve25519, now: 0)
                let spent = left.spend(try #require(found).chain, entry.index)
                #expect(spent && used.insert(entry.index).inserted)
            }
        }
    }

    @Test func age() throws {
        var server = cache()
        let (a, b) = try Pair().chains()
        server.store(b, peer: .test(1), now: 1_000)
        let entry = try #require(a.propose())
        let late = server.find(entry.id.a, tep: .curve25519, now: 1_001 + day)
        #expect(late == nil && server.count == 0 && !server.knows(.test(1)))
    }

    @Test func leastRecentlyUsedGoesFirst() throws {
        var server = cache(limit: 3)
        let pairs = try (0..<4).map { try Pair(seed: UInt64($0)).chains(lookAhead: 4) }
        for index in 0..<3 { server.store(pairs[index].b, peer: .test(index), now: 0) }
        let entry = try #require(pairs[0].a.propose())
        let hit = server.find(entry.id.a, tep: .curve25519, now: 0)
        #expect(hit != nil)
        server.store(pairs[3].b, peer: .test(3), now: 0)
        #expect(server.count == 3)
        #expect(server.knows(.test(0)) && !server.knows(.test(1)) && server.knows(.test(2)) && server.knows(.test(3)))
        // The evicted session's secret is found no more, but a connection that found it before may still spend.
        let lost = try #require(pairs[1].a.propose())
        let gone = server.find(lost.id.a, tep: .curve25519, now: 0)
        #expect(gone == nil)
        _ = pairs[1].b.find(lost.id.a)
        let spent = server.spend(pairs[1].b, 1)
        #expect(spent)
        #expect(server.entries(now: 7).map(\.ageMilliseconds) == [7, 7, 7])
        #expect(server.entries(now: 7).map(\.peers) == [[.test(3)], [.test(0)], [.test(2)]])
    }

    @Test func youngestSessionIsProposed() throws {
        var client = cache()
        let (old, new) = (try Pair(seed: 1).chains().a, try Pair(seed: 2).chains().a)
        client.store(old, peer: .test(9), now: 0)
        client.store(new, peer: .test(9), now: day / 2)
        let first = client.propose(to: .test(9), allowing: [.curve25519], now: day / 2)
        #expect(first?.chain === new)
        client.remove(new)
        let second = client.propose(to: .test(9), allowing: [.curve25519], now: day / 2)
        #expect(second?.chain === old)
        let nobody = client.propose(to: .test(8), allowing: [.curve25519], now: 0)
        #expect(nobody == nil)
    }

    /// The session has no address of its own; it learns them.
    @Test func addresses() throws {
        var client = cache()
        let (a, _) = try Pair().chains()
        client.store(a, peer: .test(1), now: 0)
        client.store(a, peer: .test(1), now: 0)
        #expect(client.count == 1 && client.knows(.test(1)) && !client.knows(.test(2)))
        client.learn(.test(2), for: a)
        client.learn(.test(2), for: a)
        let proposal = client.propose(to: .test(2), allowing: [.curve25519], now: 0)
        #expect(proposal?.chain === a)
        #expect(
            client.entries(now: 3) == [
                .init(
                    tep: .curve25519, aead: .aes128GCM, role: .a, nextIndex: 2, peers: [.test(1), .test(2)],
                    ageMilliseconds: 3, number: 0, lastUse: 2)
            ])
        for number in 0..<100 { client.learn(.test(number), for: a) }
        // Of a peer that wanders the last addresses are known.
        #expect(client.entries(now: 0).first?.peers == (68..<100).map { .test($0) })
        #expect(!client.knows(.test(67)) && client.knows(.test(68)) && client.knows(.test(99)))
    }

    /// Many peers behind one address: it is proposed the youngest sessions, but every one is found by its name.
    @Test func sharedAddresses() throws {
        var server = cache()
        let chains = try (0..<40).map { try Pair(seed: UInt64($0)).chains(lookAhead: 2) }
        for (index, pair) in chains.enumerated() { server.store(pair.b, peer: .test(1), now: Int64(index)) }
        #expect(server.count == 40)
        #expect(server.entries(now: 0).filter { $0.peers == [.test(1)] }.count == 40)
        for pair in chains {
            let entry = try #require(pair.a.propose())
            let found = server.find(entry.id.a, tep: .curve25519, now: 40)
            #expect(found?.chain === pair.b)
        }
        let proposal = server.propose(to: .test(1), allowing: [.curve25519], now: 40)
        #expect(proposal?.chain === chains.last?.b)
        for pair in chains.suffix(16) { server.remove(pair.b) }
        #expect(!server.knows(.test(1)))
    }

    @Test func flush() throws {
        var client = cache()
        let (a, b) = try Pair().chains()
        client.store(a, peer: .test(1), now: 0)
        client.flush()
        let proposal = client.propose(to: .test(1), allowing: [.curve25519], now: 0)
        let half = try #require(b.propose()).id.b
        let hit = client.find(half, tep: .curve25519, now: 0)
        #expect(proposal == nil && hit == nil && client.count == 0 && !client.knows(.test(1)))
        client.learn(.test(3), for: a)
        #expect(!client.knows(.test(3)) && client.entries(now: 0).isEmpty)
        client.store(a, peer: .test(1), now: 0)
        #expect(client.count == 1)
    }

    /// Of very many sessions none is found any more at once, but they are erased in parts.
    @Test func flushOfMany() throws {
        var client = cache()
        let chains = try (0..<10).map { try Pair(seed: UInt64($0)).chains(lookAhead: 4).a }
        for (number, chain) in chains.enumerated() { client.store(chain, peer: .test(number), now: 0) }
        client.flush()
        #expect(client.count == 0 && client.entries(now: 0).isEmpty && !client.knows(.test(1)))
        let new = try Pair(seed: 99).chains(lookAhead: 4).a
        client.store(new, peer: .test(1), now: 0)
        #expect(client.count == 1 && client.knows(.test(1)))
        var parts = 1
        while client.erase(atMost: 3, now: 0) { parts += 1 }
        #expect(parts == 4)
        let proposal = client.propose(to: .test(1), allowing: [.curve25519], now: 0)
        #expect(proposal?.chain === new && client.count == 1)
    }

    /// What nobody asks for again is erased too, when its time is over.
    @Test func oldSessionsAreErased() throws {
        var server = cache()
        let pairs = try (0..<40).map { try Pair(seed: UInt64($0)).chains(lookAhead: 4) }
        for (number, pair) in pairs.enumerated() { server.store(pair.b, peer: .test(number), now: Int64(number)) }
        server.remove(pairs[3].b)
        let isMore = server.erase(atMost: 100, now: day)
        #expect(!isMore && server.count == 39)
        #expect(server.entries(now: day + 20).count == 20, "reports know no old ones, erased or not")
        var parts = 1
        while server.erase(atMost: 5, now: day + 20) { parts += 1 }
        #expect(parts == 4 && server.count == 20 && !server.knows(.test(19)) && server.knows(.test(20)))
        // The least recently used one makes way all the same.
        let rest = server.erase(atMost: 100, now: day + 100)
        #expect(!rest && server.count == 0)
        server.store(pairs[0].b, peer: .test(1), now: day)
        #expect(server.count == 1)
    }

    /// All sessions with a peer, also those that are not proposed to it any more as there are so many.
    @Test func flushByPeer() throws {
        var server = cache()
        let chains = try (0..<40).map { try Pair(seed: UInt64($0)).chains(lookAhead: 2) }
        for (number, pair) in chains.enumerated() {
            server.store(pair.b, peer: .test(number < 30 ? 1 : 1 << 16), now: 0)
        }
        server.learn(.test(2), for: chains[0].b)
        server.learn(.test(1), for: chains[39].b)
        let flush = { (text: String) throws -> Int in
            let prefix = try #require(IPPrefix(text))
            var (place, count, rounds) = (0, 0, 0)
            while !server.isEnd(place) {
                count += server.remove(peersIn: prefix, from: &place, count: 8)
                rounds += 1
            }
            #expect(rounds > 0)
            return count
        }
        #expect(try flush("10.0.0.9") == 0 && server.count == 40)
        #expect(try flush("10.0.0.1") == 31 && server.count == 9)
        #expect(!server.knows(.test(1)) && !server.knows(.test(2)))
        for (number, pair) in chains.enumerated() {
            let half = try #require(pair.a.propose()).id.a
            let found = server.find(half, tep: .curve25519, now: 0)
            #expect((found != nil) == (30..<39).contains(number))
        }
        #expect(try flush("fd00::/8") == 0 && server.count == 9)
        #expect(try flush("10.0.0.0/16") == 0 && server.count == 9)
        #expect(try flush("10.0.0.0/15") == 9 && server.count == 0)
    }

    /// A list in parts has every session.
    @Test func listInParts() throws {
        var client = cache(limit: 400)
        for number in 0..<400 {
            client.store(try Pair(seed: UInt64(number)).chains(lookAhead: 1).a, peer: .test(number), now: 0)
        }
        var place = 0
        var found: Set<Int> = []
        while !client.isEnd(place) {
            let part = client.entries(now: 0, from: &place, count: 50)
            #expect(part.count < 400)
            found.formUnion(part.map(\.number))
        }
        #expect(found.count == 400)
        #expect(client.entries(now: 0).map(\.lastUse) == (1...400).reversed())
    }

    @Test func nothingIsKeptWithoutRoom() throws {
        var client = cache(limit: 0)
        client.store(try Pair().chains().a, peer: .test(1), now: 0)
        #expect(client.count == 0 && !client.knows(.test(1)))
    }

    /// Many sessions, random use: counts stay within the limit and every hit is the right session.
    @Test func churn() throws {
        let random = SeededRandom(41)
        var (client, server) = (cache(limit: 10), cache(limit: 12))
        var peers: [ObjectIdentifier: SecretChain] = [:]
        for step in 0..<300 {
            let now = Int64(step)
            if random.below(3) == 0 {
                let (a, b) = try Pair(seed: UInt64(step)).chains(lookAhead: 3)
                peers[ObjectIdentifier(a)] = b
                client.store(a, peer: .test(random.below(5)), now: now)
                server.store(b, peer: .test(100), now: now)
            }
            guard
                let (chain, entry) = client.propose(
                    to: .test(random.below(5)), allowing: [.curve25519], now: now),
                let hit = server.find(entry.id.a, tep: .curve25519, now: now)
            else { continue }
            #expect(peers[ObjectIdentifier(chain)] === hit.chain)
            client.noteSuccess(of: chain, at: .test(0))
            let spent = random.below(2) == 0 ? server.spend(hit.chain, hit.entry.index) : true
            #expect(spent && client.count <= 10 && server.count <= 12)
        }
    }
}
