import FlowEngine
import TestSupport

/// One walk: hosts open and close, the attacker does at each packet what chance says; then the attacker rests.
final class HandshakeWalk {
    let world: HandshakeWorld
    private var random: SeededRandom
    private var lateFailures: [String] = []
    /// Old connections that were joined when the attacker had left off.
    private(set) var joinedAfterwards = 0
    /// The chance that a packet of a handshake is attacked.
    private let rate: Double

    init(seed: UInt64, trace: Bool) {
        random = SeededRandom(seed: seed &* 64 &+ 21)
        rate = random.pick([0.05, 0.15, 0.3, 0.5])
        world = HandshakeWorld(seed: random.next(), trace: trace)
    }

    func play() {
        if random.chance(0.3) { connectPlain() }
        let favourite = random.pick(Attack.allCases)
        world.attacker.choose = { [unowned self] _, stage in choose(stage, favourite) }
        world.connect(from: random.int(0...1))
        world.run(milliseconds: 50)
        for _ in 0..<random.int(5...25) {
            act()
            world.run(milliseconds: Int64(random.pick([0, 1, 3, 20, 100, 1_500])))
        }
        world.run(milliseconds: 8_000)
        rest()
    }

    /// A connection that the attacker has kept from being encrypted.
    private func connectPlain() {
        world.attacker.choose = { _, stage in stage == .syn ? [Move(attack: .stripENO)] : [] }
        world.connect(from: random.int(0...1))
        world.run(milliseconds: 50)
    }

    private func choose(_ stage: Stage, _ favourite: Attack) -> [Move] {
        let handles = stage == .frame ? rate / 4 : rate
        guard stage != .other, random.chance(handles) else { return [] }
        var moves: [Move] = []
        repeat {
            let possible = Attack.allCases.filter { $0.stages.contains(stage) }
            let attack = random.chance(0.2) && favourite.stages.contains(stage) ? favourite : random.pick(possible)
            moves.append(Move(attack: attack, variant: random.int(0...attack.variants - 1)))
        } while random.chance(0.25)
        return moves
    }

    // MARK: What the hosts do

    private func act() {
        let joinable = world.ends.filter { world.mayJoin($0) && world.protection($0).isEncrypted }
        switch random.int(0...11) {
        case 0: world.connect(from: random.int(0...1))
        case 1: world.connect(from: random.int(0...1), isMPTCP: random.chance(0.3))
        case 2...7:
            guard !joinable.isEmpty else {
                _ = world.connect(from: random.int(0...1))
                return
            }
            // Several at once, from both ends perhaps.
            for _ in 0..<random.pick([1, 1, 2, 3]) { world.join(random.pick(joinable)) }
        case 8:
            guard !joinable.isEmpty else { return }
            world.join(random.pick(joinable), isLured: true)
        case 9:
            // A new connection, that may resume, beside a join.
            world.connect(from: random.int(0...1))
            if !joinable.isEmpty { world.join(random.pick(joinable)) }
        case 10: abort()
        default: break
        }
    }

    private func abort() {
        let live = world.sockets.filter { $0.wasEstablished && $0.kernel.state == .established }
        guard live.count > 1 else { return }
        let chosen = random.pick(live)
        chosen.kernel.abort(now: world.hosts[chosen.host].now)
        world.hosts[chosen.host].settle()
    }

    // MARK: Afterwards

    /// The attacker can stop things, and no more: what is tried when nobody attacks works.
    private func rest() {
        world.attacker.rest()
        world.run(milliseconds: 5_000)
        for end in world.ends {
            guard let peer = world.peer(of: end), [end, peer].allSatisfy(isInOrder) else { continue }
            let socket = world.join(end)
            world.run(milliseconds: 5_000)
            if let socket, !isJoined(socket), !world.hasAmbiguity(end.name.host) {
                lateFailures.append("no join afterwards: \(socket.kernel.state)")
            }
            joinedAfterwards += 1
            break
        }
        // As long as offers that had no answer are remembered.
        world.run(milliseconds: 700_000)
        let first = world.connect(from: 0)
        world.run(milliseconds: 3_000)
        guard let first, first.isEncrypted, let end = first.end, let peer = world.peer(of: end) else {
            return lateFailures.append("no encrypted connection afterwards")
        }
        let joins = [world.join(end), world.join(peer)]
        world.run(milliseconds: 5_000)
        for case let join? in joins where !isJoined(join) { lateFailures.append("no join of a new connection") }
    }

    private func isInOrder(_ end: HandshakeWorld.End) -> Bool {
        world.mayJoin(end) && world.mayBeProved(end)
            && world.sockets.contains { $0.end === end && $0.isEncrypted && $0.kernel.state == .established }
    }

    private func isJoined(_ socket: HandshakeWorld.Socket) -> Bool {
        socket.isEncrypted && socket.kernel.state == .established
            && world.sockets.contains { $0 !== socket && $0.hasSameKeys(as: socket) }
    }

    var failures: [String] { world.failures + lateFailures }
}
