import FlowEngine
import PacketWire
import Synchronization
import TestSupport
import Testing

/// Everything that few moves can do to one handshake: tried out from the beginning each time, the worlds being the same otherwise.
final class Exploration: Sendable {
    /// Whose packets are attacked. An encrypted connection is there already.
    enum Subject: String, CaseIterable, Sendable, CustomTestStringConvertible {
        case joinByOpener = "a join by who opened the connection"
        case joinByAcceptor = "a join by who accepted the connection"
        case joinsAtOnce = "joins from both ends at once"
        case resumption = "a new connection that resumes"

        var testDescription: String { rawValue }
    }

    /// A move on the packet with this number, of those of handshakes, counted from the beginning.
    struct Step: Hashable, Sendable {
        var packet: Int
        var move: Move
    }

    /// What became of one sequence.
    private struct Outcome {
        var failures: [String]
        /// Whether the last step was possible.
        var isPossible: Bool
        /// What hosts and wire looked like from the last step on.
        var state: [String]
        /// The kinds of the packets that came by.
        var stages: [Stage]
    }

    private let subject: Subject
    private static let mostPackets = 6

    private struct Counts {
        var runs = 0
        var states: Set<[String]> = []
        var failures = 0
    }

    private let counts = Mutex(Counts())

    init(_ subject: Subject) { self.subject = subject }

    func run(depth: Int) async {
        let undisturbed = play([])
        #expect(undisturbed.failures.isEmpty)
        var frontier: [(steps: [Step], stages: [Stage])] = [([], undisturbed.stages)]
        for _ in 0..<depth {
            let sequences = frontier.flatMap { node in
                continuations(of: node.steps, stages: node.stages).map { node.steps + [$0] }
            }
            frontier = await tryAll(sequences)
        }
        let counts = counts.withLock { $0 }
        print("downgrade: \(subject.rawValue): \(counts.runs) sequences, \(counts.states.count) states")
        #expect(counts.states.count > 20)
    }

    /// Moves on the same packet, or a later one.
    private func continuations(of steps: [Step], stages: [Stage]) -> [Step] {
        let first = steps.last?.packet ?? 0
        guard first < stages.count else { return [] }
        return (first..<min(stages.count, Self.mostPackets)).flatMap { packet in
            Attack.allCases.filter { $0.stages.contains(stages[packet]) }.flatMap { attack in
                (0..<attack.variants).map { Step(packet: packet, move: Move(attack: attack, variant: $0)) }
            }
        }
    }

    /// - Returns: those that led to something new.
    private func tryAll(_ sequences: [[Step]]) async -> [(steps: [Step], stages: [Stage])] {
        let portions = 8
        let parts = await withTaskGroup(of: [(Int, [Step], Outcome)].self) { group in
            for portion in 0..<portions {
                group.addTask {
                    var found: [(Int, [Step], Outcome)] = []
                    for index in stride(from: portion, to: sequences.count, by: portions) {
                        await Task.yield()
                        let outcome = self.play(sequences[index])
                        if outcome.isPossible { found.append((index, sequences[index], outcome)) }
                    }
                    return found
                }
            }
            return await group.reduce(into: []) { $0 += $1 }
        }
        var fresh: [(steps: [Step], stages: [Stage])] = []
        for (_, steps, outcome) in parts.sorted(by: { $0.0 < $1.0 }) {
            judge(steps, outcome)
            if counts.withLock({ $0.states.insert(outcome.state).inserted }) { fresh.append((steps, outcome.stages)) }
        }
        return fresh
    }

    private func judge(_ steps: [Step], _ outcome: Outcome) {
        guard !outcome.failures.isEmpty,
            counts.withLock({
                $0.failures += 1
                return $0.failures
            }) <= 10
        else { return }
        let text = steps.map { "packet \($0.packet): \($0.move)" }.joined(separator: ", ")
        Issue.record("\(subject.rawValue): \(text)\n  \(outcome.failures.prefix(6).joined(separator: "\n  "))")
    }

    // MARK: One sequence

    private func play(_ steps: [Step]) -> Outcome {
        counts.withLock { $0.runs += 1 }
        let world = HandshakeWorld(seed: 5, trace: false)
        let first = world.connect(from: 0)
        world.run(milliseconds: 50)
        var packets = 0
        var stages: [Stage] = []
        var state: [String] = []
        let last = steps.last?.packet ?? 0
        world.attacker.choose = { segment, stage in
            guard stage != .other, stage != .frame || packets < Self.mostPackets else { return [] }
            let number = packets
            packets += 1
            stages.append(stage)
            if number > last { state.append(Self.shape(segment)) }
            return steps.filter { $0.packet == number }.map(\.move)
        }
        begin(world, first)
        world.run(milliseconds: 4_000)
        let made = world.attacker.made.values.reduce(0, +)
        state += world.summary
        state.append("after packet \(last)")
        return Outcome(failures: world.failures, isPossible: made == steps.count, state: state, stages: stages)
    }

    private func begin(_ world: HandshakeWorld, _ first: HandshakeWorld.Socket?) {
        guard let end = first?.end, let peer = world.peer(of: end) else { return }
        switch subject {
        case .joinByOpener: world.join(end)
        case .joinByAcceptor: world.join(peer)
        case .joinsAtOnce:
            world.join(end)
            world.join(peer)
        case .resumption: world.connect(from: 0)
        }
    }

    /// What can be told of a packet without knowing numbers.
    private static func shape(_ segment: Forgery) -> String {
        "\(segment.stage.rawValue) \(segment.source.port) \(segment.eno?.count ?? 0) \(segment.mptcp?.count ?? 0) \(segment.payload.count)"
    }
}

extension HandshakeWorld {
    /// The state of everything, as far as it can be seen without knowing numbers.
    fileprivate var summary: [String] {
        sockets.map { socket in
            "\(socket.host) \(socket.kernel.tuple.remote.port) \(socket.isJoin) \(socket.kernel.state)"
                + " \(socket.kernel.failure?.rawValue ?? "") \(socket.isEncrypted) \(socket.isPlain)"
        } + ends.map { "\(protection($0).isEncrypted) \(mayJoin($0))" }
            + hosts.map { "\($0.counters.joins) \($0.counters.joinsRefused) \($0.counters.aborts)" }
    }
}
