import FlowEngine
import PathDevices
import TestSupport

/// One run of one cell, with its judgement.
final class MatrixRun {
    let simulation: Simulation
    private let scenario: Scenario
    private let impairment: Impairment
    private var connections = 0
    private var pair: MPTCPPair?
    private var disturbedAt: Instant?
    private var isRestored = false

    init(_ scenario: Scenario, _ impairment: Impairment, seed: UInt64, hasEngines: Bool, trace: Bool) {
        self.scenario = scenario
        self.impairment = impairment
        var random = SeededRandom(seed: seed &* 64 &+ 17)
        var setup = Simulation.Setup.drawn(&random, isClean: true)
        for side in [\Simulation.Setup.client, \.server] {
            setup[keyPath: side].kernel.dropRate = 0
            setup[keyPath: side].kernel.urgentRate = 0
            setup[keyPath: side].hasEngine = hasEngines
        }
        scenario.adapt(&setup, &random)
        impairment.adapt(&setup, &random)
        setup.devicesToServer = Self.specification(impairment.toServer)
        setup.devicesToClient = Self.specification(impairment.toClient)
        simulation = Simulation(seed: random.next(), setup, trace: trace)
        simulation.record.mayBePlain = true
        scenario.play(self, &random)
        _ = simulation.run(milliseconds: 130_000) { false }
    }

    private static func specification(_ words: String) -> PathSpecification {
        (try? PathSpecification(parsing: words)) ?? PathSpecification()
    }

    // MARK: What rows do

    func mptcpPair() -> MPTCPPair {
        let pair = MPTCPPair(simulation)
        self.pair = pair
        return pair
    }

    func nextRound() {
        simulation.client.forgetApplications()
        simulation.server.forgetApplications()
    }

    /// Runs until all is done or has failed, or something else has come about.
    func wait(connections: Int, until isThere: (Simulation) -> Bool = { _ in false }) {
        self.connections = connections
        _ = simulation.run(seconds: 3000) {
            disturb()
            return isWhole || hasFailed || isThere(simulation)
        }
    }

    /// What comes at a quarter of the data, and goes again.
    private func disturb() {
        guard !impairment.later.isEmpty, !isRestored else { return }
        if let disturbedAt {
            guard simulation.network.now.milliseconds(since: disturbedAt) >= impairment.laterMilliseconds else {
                return
            }
            isRestored = true
            set(PathSpecification())
        } else {
            let received = simulation.applications.reduce(0) { $0 + $1.received }
            let total = simulation.applications.reduce(0) { $0 + $1.plan.peerTotal }
            guard total > 0, 4 * received >= total else { return }
            disturbedAt = simulation.network.now
            set(Self.specification(impairment.later))
        }
    }

    private func set(_ specification: PathSpecification) {
        for direction in PathDirection.allCases { simulation.devices.set(direction, to: specification) }
    }

    // MARK: What came of it

    /// Everything was sent, read and closed. Joins may fail where packets get lost.
    var isWhole: Bool {
        let (done, ended) = counts
        guard let pair else { return done == 2 * connections }
        let first = simulation.applications.filter { !($0.socket.subflow?.isJoin ?? false) }
        return first.count == 2 && first.allSatisfy(\.isComplete) && (done + ended == simulation.applications.count)
            && (done == 2 * pair.opened || mayLoseJoins)
    }

    private var mayLoseJoins: Bool {
        if impairment.losesPackets { return true }
        return impairment.name.hasPrefix("strip-mptcp")
    }

    private var counts: (done: Int, ended: Int) {
        let applications = simulation.applications
        return (
            applications.count { $0.isComplete }, applications.count { !$0.isComplete && $0.socket.failure != nil }
        )
    }

    /// Nothing will come of it any more.
    var hasFailed: Bool {
        let applications = simulation.applications
        guard !applications.isEmpty else { return false }
        return applications.allSatisfy { $0.isComplete || $0.socket.failure != nil }
            && applications.contains { $0.socket.failure != nil } && !isWhole
    }

    /// What the run got wrong, where plain TCP gets it right as `twin` tells.
    func failures(twin: () -> MatrixRun) -> [String] {
        var failures = simulation.violations.filter { !$0.hasPrefix("plaintext") } + leaks
        if !impairment.losesPackets || !scenario.endsInError {
            for host in [simulation.client, simulation.server] where host.pendingCount > 0 {
                failures.append("\(host.name): \(host.pendingCount) packets never answered")
            }
        }
        if scenario.endsInError { return failures + errorFailures(twin) }
        switch impairment.expectation {
        case .encrypted(let excuses):
            failures += wholeFailures(twin) + encryptionFailures(excuses)
        case .plain:
            failures += wholeFailures(twin)
            if simulation.client.isEncrypted || simulation.server.isEncrypted { failures.append("encrypted") }
        case .whole:
            failures += wholeFailures(twin)
        case .ends:
            if !isWhole && !hasFailed && !simulation.isBroken { failures.append("stalled: " + simulation.state) }
        }
        if isWhole, impairment.keepsUrgent, pair == nil { failures += simulation.urgentFailures }
        return failures
    }

    /// Plaintext of a connection that an end believed to be encrypted.
    private var leaks: [String] {
        [simulation.client, simulation.server].flatMap { host in
            host.events.compactMap { event in
                guard case .encrypted(let tuple, _) = event, !host.hasFallenBack(tuple),
                    simulation.record.visibleEnds.isSuperset(of: [tuple.local, tuple.remote])
                else { return nil }
                return "plaintext between \(tuple.local) and \(tuple.remote), which \(host.name) encrypts"
            }
        }
    }

    private func wholeFailures(_ twin: () -> MatrixRun) -> [String] {
        guard !isWhole, twin().isWhole else { return [] }
        return ["plain TCP gets through, this " + (hasFailed ? "fails: " : "stalls: ") + simulation.state]
    }

    private func errorFailures(_ twin: () -> MatrixRun) -> [String] {
        guard !isWhole, !hasFailed else { return [] }
        if impairment.losesPackets && simulation.isBroken { return [] }
        let other = twin()
        return other.isWhole || other.hasFailed ? ["no error: " + simulation.state] : []
    }

    private func encryptionFailures(_ excuses: Set<FallbackReason>) -> [String] {
        guard isWhole else { return [] }
        var excuses = excuses
        if scenario.mayCostSYN { excuses.formUnion(Impairment.lostSYN) }
        // An MP_CAPABLE SYN carries ENO to a stranger the first time only, and joins follow their connection.
        if pair != nil, impairment.losesPackets {
            excuses.formUnion(Impairment.lostSYN.union([.plainMPTCPConnection]))
        }
        return [simulation.client, simulation.server].flatMap { host -> [String] in
            let reasons = host.events.compactMap { event -> FallbackReason? in
                if case .fellBack(_, let reason) = event { reason } else { nil }
            }
            if reasons.allSatisfy(excuses.contains), host.isEncrypted || !reasons.isEmpty { return [] }
            return ["\(host.name) did not encrypt: \(host.eventText)"]
        }
    }
}

extension SimulatedHost {
    /// Another connection between the same ends was plain.
    fileprivate func hasFallenBack(_ tuple: FlowTuple) -> Bool {
        events.contains { if case .fellBack(tuple, _) = $0 { true } else { false } }
    }

    /// Some connection was encrypted.
    fileprivate var isEncrypted: Bool {
        events.contains { if case .encrypted = $0 { true } else { false } }
    }
}
