import Synchronization
import TestSupport
import Testing

/// What all walks came to: proof that everything was tried, and that joins are possible.
final class DowngradeTally: Sendable {
    struct Sum: Sendable {
        var made: [String: Int] = [:]
        var walks = 0
        var joins = (opened: 0, accepted: 0, refused: 0)
        var connections = (encrypted: 0, plain: 0)
        var joinedAfterwards = 0
        /// Secrets under which data crossed.
        var secrets = 0
    }

    private let state = Mutex(Sum())
    /// How often each attack is made at least in a run of the usual length, on each kind of packet.
    private static let least = 5

    func add(_ walk: HandshakeWalk) {
        let counts = walk.world.joinCounts
        let made = walk.world.attacker.made
        let secrets = walk.world.secrets.count
        let late = walk.joinedAfterwards
        let protections = walk.world.ends.map(walk.world.protection)
        state.withLock { sum in
            sum.walks += 1
            sum.made.merge(made, uniquingKeysWith: +)
            sum.joins.opened += counts.opened
            sum.joins.accepted += counts.accepted
            sum.joins.refused += counts.refused
            sum.connections.encrypted += protections.count(where: \.isEncrypted)
            sum.connections.plain += protections.count { $0 == .plain }
            sum.secrets += secrets
            sum.joinedAfterwards += late
        }
    }

    /// Everything that an attacker can do.
    private static var wanted: [String] {
        var all: [String] = []
        for attack in Attack.allCases {
            for stage in attack.stages {
                let key = PathAttacker.key(attack, stage)
                if !all.contains(key) { all.append(key) }
            }
        }
        return all
    }

    func judge() {
        let sum = state.withLock { $0 }
        let attacks = sum.made.values.reduce(0, +)
        print(
            "downgrade: \(sum.walks) walks, \(attacks) attacks of \(sum.made.count) kinds; joins: \(sum.joins.opened) opened,"
                + " \(sum.joins.accepted) accepted, \(sum.joins.refused) refused,"
                + " \(sum.joinedAfterwards) after the attack; ends of connections:"
                + " \(sum.connections.encrypted) encrypted, \(sum.connections.plain) plain; \(sum.secrets) secrets used"
        )
        // A few walks need not do everything.
        guard sum.walks >= 500 else { return }
        for key in Self.wanted {
            #expect(sum.made[key, default: 0] >= Self.least, "\(key): \(sum.made[key, default: 0]) times")
        }
        #expect(sum.joins.opened > 5 * sum.walks)
        #expect(sum.joins.accepted > 2 * sum.walks)
        #expect(sum.joins.refused > sum.walks)
        #expect(sum.connections.encrypted > 2 * sum.walks)
        #expect(sum.connections.plain > sum.walks / 10)
        #expect(sum.joinedAfterwards > sum.walks / 2)
        // Those of joins and of resumed connections.
        #expect(sum.secrets > sum.joins.accepted + sum.walks)
        if Self.printsAll {
            for key in Self.wanted { print("  \(key): \(sum.made[key, default: 0])") }
        }
    }

    private static let printsAll = Runs.isTracing
}
