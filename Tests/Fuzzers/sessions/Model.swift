import PacketWire
import Tcpcrypt

/// What a ``SessionCache`` should know, with lists to look through in place of tables.
struct Model {
    struct Session {
        let number: Int
        let chain: SecretChain
        let stored: Int64
        var peers: [IPAddress] = []
        var strays = 0
    }

    struct Place {
        let endpoint: Endpoint
        var working: Int?
        var declined: [Int] = []
    }

    let limit: Int
    let lookAhead: Int
    let maximumAge: Int64
    /// The least recently used one first, those forgotten and not erased included.
    private(set) var sessions: [Session] = []
    private var listed: [IPAddress: [Int]] = [:]
    /// The one that was not changed for longest first.
    private var places: [Place] = []
    private var nextNumber = 0
    private var firstValid = 0

    init(limit: Int, lookAhead: Int, maximumAge: Int64) {
        self.limit = limit
        self.lookAhead = lookAhead
        self.maximumAge = maximumAge
    }

    var valid: [Session] { sessions.filter { $0.number >= firstValid } }
    func isOver(_ session: Session, _ now: Int64) -> Bool { now - session.stored > maximumAge }
    func knows(_ address: IPAddress) -> Bool { listed[address]?.contains { $0 >= firstValid } ?? false }
    func session(of chain: SecretChain) -> Session? { valid.first { $0.chain === chain } }

    mutating func store(_ chain: SecretChain, _ address: IPAddress, _ now: Int64) {
        guard limit > 0, session(of: chain) == nil else { return }
        forget(chain)
        while sessions.count >= limit { remove(sessions[0].number) }
        sessions.append(Session(number: nextNumber, chain: chain, stored: now))
        assign(address, nextNumber)
        nextNumber += 1
    }

    mutating func propose(_ endpoint: Endpoint, _ now: Int64) -> SecretChain? {
        let place = places.first { $0.endpoint == endpoint }
        if let working = place?.working, let chain = use(working, now) { return chain }
        for number in (listed[endpoint.address] ?? []).reversed() where place?.declined.contains(number) != true {
            guard let strays = sessions.first(where: { $0.number == number })?.strays, strays < max(1, lookAhead / 2),
                let chain = use(number, now)
            else { continue }
            change(number) { $0.strays += 1 }
            return chain
        }
        return nil
    }

    /// The session, which has been used now; one whose time is over goes.
    mutating func use(_ number: Int, _ now: Int64) -> SecretChain? {
        guard let session = valid.first(where: { $0.number == number }) else { return nil }
        sessions.removeAll { $0.number == number }
        guard !isOver(session, now) else {
            unlist(number)
            return nil
        }
        sessions.append(session)
        return session.chain
    }

    mutating func spent(_ chain: SecretChain) {
        guard let session = session(of: chain) else { return }
        change(session.number) { $0.strays = 0 }
        _ = use(session.number, session.stored)
    }

    mutating func learn(_ address: IPAddress, _ chain: SecretChain) {
        if let session = session(of: chain) { assign(address, session.number) }
    }

    mutating func noteSuccess(_ chain: SecretChain, _ endpoint: Endpoint) {
        guard let number = session(of: chain)?.number else { return }
        change(number) { $0.strays = 0 }
        assign(endpoint.address, number)
        place(endpoint) {
            $0.working = number
            $0.declined.removeAll { $0 == number }
        }
    }

    mutating func noteRefusal(_ chain: SecretChain, _ endpoint: Endpoint) {
        guard let number = session(of: chain)?.number else { return }
        place(endpoint) { place in
            if place.working == number { place.working = nil }
            place.declined = (place.declined.filter { $0 != number } + [number]).suffix(16)
        }
    }

    mutating func flush() { firstValid = nextNumber }

    /// All that are forgotten or too old.
    mutating func erase(_ now: Int64) {
        for session in sessions where session.number < firstValid || isOver(session, now) { remove(session.number) }
    }

    mutating func remove(_ number: Int) {
        sessions.removeAll { $0.number == number }
        unlist(number)
    }

    mutating func forget(_ chain: SecretChain) {
        for session in sessions where session.chain === chain { remove(session.number) }
    }

    mutating func remove(_ prefix: IPPrefix) -> Int {
        let found = valid.filter { $0.peers.contains(where: prefix.contains) }
        for session in found { remove(session.number) }
        return found.count
    }

    // MARK: Parts

    private mutating func change(_ number: Int, _ body: (inout Session) -> Void) {
        for index in sessions.indices where sessions[index].number == number { body(&sessions[index]) }
    }

    private mutating func place(_ endpoint: Endpoint, _ body: (inout Place) -> Void) {
        var place = places.first { $0.endpoint == endpoint } ?? Place(endpoint: endpoint)
        places.removeAll { $0.endpoint == endpoint }
        body(&place)
        places.append(place)
        if places.count > limit { places.removeFirst() }
    }

    private mutating func assign(_ address: IPAddress, _ number: Int) {
        var lost: IPAddress?
        change(number) { session in
            guard !session.peers.contains(address) else { return }
            session.peers.append(address)
            if session.peers.count > 32 { lost = session.peers.removeFirst() }
        }
        if let lost { listed[lost]?.removeAll { $0 == number } }
        listed[address] = ((listed[address] ?? []).filter { $0 != number } + [number]).suffix(16)
    }

    private mutating func unlist(_ number: Int) {
        for address in listed.keys { listed[address]?.removeAll { $0 == number } }
    }
}
