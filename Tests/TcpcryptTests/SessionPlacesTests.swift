import PacketWire
import Testing

@testable import Tcpcrypt

/// Which session is proposed where, as behind one address there may be several hosts.
@Suite struct SessionPlacesTests {
    /// One that opens, with sessions in the order in which they were made.
    private struct Client {
        var cache = SessionCache(limit: 100, lookAhead: 16, maximumAgeMilliseconds: 86_400_000, crypto: provider)
        var chains: [SecretChain] = []
        var peers: [SecretChain] = []

        mutating func begin(at endpoint: Endpoint) throws {
            let (a, b) = try Pair(seed: UInt64(chains.count)).chains()
            chains.append(a)
            peers.append(b)
            cache.store(a, peer: endpoint.address, now: 0)
            cache.noteSuccess(of: a, at: endpoint)
        }

        /// The number of the session that is proposed.
        mutating func proposal(_ endpoint: Endpoint) -> Int? {
            let found = cache.propose(to: endpoint, allowing: [.curve25519], now: 0)
            return chains.firstIndex { $0 === found?.chain }
        }
    }

    @Test func eachPortItsOwn() throws {
        var client = Client()
        for port in 0..<40 as Range<UInt16> { try client.begin(at: .test(1, port)) }
        for _ in 0..<3 {
            for port in 0..<40 as Range<UInt16> {
                let number = client.proposal(.test(1, port))
                #expect(number == Int(port))
            }
        }
        let (youngest, elsewhere) = (client.proposal(.test(1, 99)), client.proposal(.test(2, 5)))
        #expect(youngest == 39 && elsewhere == nil)
    }

    @Test func whatWorkedLastGoesFirst() throws {
        var client = Client()
        for port in 0..<3 as Range<UInt16> { try client.begin(at: .test(1, port)) }
        client.cache.noteSuccess(of: client.chains[0], at: .test(1, 7))
        let (elsewhere, there, first) = (
            client.proposal(.test(1, 8)), client.proposal(.test(1, 7)), client.proposal(.test(1, 1))
        )
        #expect(elsewhere == 0 && there == 0 && first == 1)
        client.cache.learn(.test(1), for: client.chains[2])
        let learnt = client.proposal(.test(1, 9))
        #expect(learnt == 2)
    }

    /// What was declined is not proposed there again, whatever else is known, but elsewhere as before.
    @Test func declined() throws {
        var client = Client()
        for port in 0..<3 as Range<UInt16> { try client.begin(at: .test(1, port)) }
        for expected in [2, 1, 0] {
            let number = client.proposal(.test(1, 50))
            #expect(number == expected)
            client.cache.noteRefusal(of: client.chains[expected], at: .test(1, 50))
        }
        let nothing = client.proposal(.test(1, 50))
        #expect(nothing == nil)
        for port in 0..<3 {
            let number = client.proposal(.test(1, UInt16(port)))
            #expect(number == port)
        }
        try client.begin(at: .test(1, 50))
        let (its, other) = (client.proposal(.test(1, 50)), client.proposal(.test(1, 51)))
        #expect(its == 3 && other == 3)
        // A peer that has forgotten its session.
        client.cache.noteRefusal(of: client.chains[1], at: .test(1, 1))
        let instead = client.proposal(.test(1, 1))
        #expect(instead == 3)
        client.cache.noteSuccess(of: client.chains[1], at: .test(1, 1))
        let again = client.proposal(.test(1, 1))
        #expect(again == 1)
    }

    /// Ports where nobody answers, or none that encrypts, do not use up what the peer recognises.
    @Test func straysAreFew() throws {
        var client = Client()
        try client.begin(at: .test(1, 80))
        for port in 1000..<1100 as Range<UInt16> {
            let number = client.proposal(.test(1, port))
            #expect((number == 0) == (port < 1008))
            if port % 2 == 0 { client.cache.noteRefusal(of: client.chains[0], at: .test(1, port)) }
        }
        let proposal = client.cache.propose(to: .test(1, 80), allowing: [.curve25519], now: 0)
        let half = try #require(proposal).entry.id.a
        #expect(client.peers[0].find(half)?.index == 9)
        client.cache.noteSuccess(of: client.chains[0], at: .test(1, 80))
        let number = client.proposal(.test(1, 2000))
        #expect(number == 0)
    }

    /// A peer that opens a connection itself shows how far it is.
    @Test func strayProposalsAreForgivenByTheOtherDirection() throws {
        var client = Client()
        try client.begin(at: .test(1, 80))
        for port in 1000..<1100 as Range<UInt16> { _ = client.proposal(.test(1, port)) }
        let before = client.proposal(.test(1, 2000))
        for _ in 0..<9 { _ = client.peers[0].propose() }
        let half = try #require(client.peers[0].propose()).id.b
        let hit = client.cache.find(half, tep: .curve25519, now: 0)
        let found = try #require(hit)
        let isSpent = client.cache.spend(found.chain, found.entry.index)
        let after = client.proposal(.test(1, 2000))
        #expect(before == nil && isSpent && after == 0)
    }

    @Test func placesAreBounded() {
        var places = SessionPlaces(limit: 100)
        for number in 0..<300 {
            places.noteSuccess(of: number, at: .test(number))
            // Always in use.
            places.noteSuccess(of: 0, at: .test(0))
        }
        #expect(places.count == 100)
        #expect(places.working(at: .test(0)) == 0 && places.working(at: .test(299)) == 299)
        #expect(places.working(at: .test(200)) == nil)
        for number in 0..<100 { places.noteRefusal(of: number, at: .test(0)) }
        #expect(places.working(at: .test(0)) == nil)
        #expect(places.declined(at: .test(0)) == Array(84..<100))
        var none = SessionPlaces(limit: 0)
        none.noteSuccess(of: 1, at: .test(1))
        #expect(none.count == 0)
    }
}
