import PacketWire
import Tables

/// Which session worked at which address and port, and which did not: behind one address there may be several hosts, each with ports of
/// its own.
///
/// Sessions are numbers that nobody uses twice, so that those which are gone do no harm here. Bounded: the place that heard
/// nothing new for longest makes way.
struct SessionPlaces {
    private struct Place {
        /// The session that worked here last.
        var working: Int?
        /// Those that whoever is here did not take, the latest last.
        var declined: [Int] = []
    }

    private var places = AgeList<Endpoint, Place>()
    private let limit: Int

    private static let mostDeclined = 16

    init(limit: Int) { self.limit = limit }

    var count: Int { places.count }

    func working(at endpoint: Endpoint) -> Int? { places[endpoint]?.working }

    func declined(at endpoint: Endpoint) -> [Int] { places[endpoint]?.declined ?? [] }

    mutating func noteSuccess(of session: Int, at endpoint: Endpoint) {
        change(endpoint) { place in
            place.working = session
            place.declined.removeAll { $0 == session }
        }
    }

    mutating func noteRefusal(of session: Int, at endpoint: Endpoint) {
        change(endpoint) { place in
            if place.working == session { place.working = nil }
            place.declined.removeAll { $0 == session }
            place.declined.append(session)
            if place.declined.count > Self.mostDeclined { place.declined.removeFirst() }
        }
    }

    private mutating func change(_ endpoint: Endpoint, _ body: (inout Place) -> Void) {
        var place = places[endpoint] ?? Place()
        body(&place)
        places.append(place, key: endpoint)
        if places.count > limit { _ = places.popFirst() }
    }
}
