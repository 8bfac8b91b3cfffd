import FlowEngine
import TestSupport
import Testing

/// A row of the table: what applications, and operators, do with connections.
struct Scenario: Sendable, CustomTestStringConvertible {
    typealias Plans = (client: ApplicationPlan, server: ApplicationPlan)

    let name: String
    /// It ends with an error at both ends, where it is encrypted or an application wants it so.
    var endsInError = false
    /// TIME-WAIT may cost a SYN already, and two too many make ENO give way.
    var mayCostSYN = false
    var adapt: @Sendable (inout Simulation.Setup, inout SeededRandom) -> Void = { _, _ in }
    /// Plays it; returns whether everything was sent, read and closed, or has failed.
    let play: @Sendable (MatrixRun, inout SeededRandom) -> Void

    var testDescription: String { name }

    /// One connection with these plans.
    private static func single(
        _ name: String, endsInError: Bool = false,
        adapt: @escaping @Sendable (inout Simulation.Setup, inout SeededRandom) -> Void = { _, _ in },
        _ plans: @escaping @Sendable (inout SeededRandom) -> Plans
    ) -> Scenario {
        Scenario(name: name, endsInError: endsInError, adapt: adapt) { run, random in
            run.simulation.connect([plans(&random)])
            run.wait(connections: 1)
        }
    }

    private static func plain(_ toServer: Int, _ toClient: Int) -> Plans {
        let up = PatternStream(number: 1)
        let down = PatternStream(number: 2)
        return (
            ApplicationPlan(stream: up, total: toServer, peerStream: down, peerTotal: toClient),
            ApplicationPlan(stream: down, total: toClient, peerStream: up, peerTotal: toServer)
        )
    }

    static let all: [Scenario] = [
        single("up") { plain($0.logarithmic(1000...150_000), 0) },
        single("down") { plain(0, $0.logarithmic(1000...150_000)) },
        single("both") { plain($0.logarithmic(1000...80_000), $0.logarithmic(1000...80_000)) },
        single("empty") { _ in plain(0, 0) },
        single("echo") { TransferTests.dialogue(&$0) },
        single("half-close") { random in
            var plans = plain(random.logarithmic(100...20_000), random.logarithmic(100...40_000))
            plans.server.gates = [(0, 0), (plans.server.peerTotal, plans.server.total)]
            return plans
        },
        single("one-byte-writes") { random in
            var plans = plain(random.int(100...300), 50)
            for path in [\Plans.client, \.server] {
                plans[keyPath: path].writeChunk = 1
                plans[keyPath: path].writePauseMilliseconds = 0...3
            }
            return plans
        },
        single("small-writes") { random in
            var plans = plain(random.int(2000...15_000), 3000)
            plans.client.writeChunk = random.int(10...200)
            plans.client.writePauseMilliseconds = 0...1
            return plans
        },
        single("late-reader") { random in
            var plans = plain(random.int(30_000...120_000), 100)
            plans.server.readChunk = 20_000
            plans.server.readPauseMilliseconds = 300...1500
            return plans
        },
        single(
            "tiny-window",
            adapt: { setup, random in
                for side in [\Simulation.Setup.client, \.server] {
                    setup[keyPath: side].kernel.receiveBuffer = random.int(1200...6000)
                    setup[keyPath: side].kernel.windowScale = random.pick([nil, 0, 2])
                }
            },
            { plain($0.int(3000...20_000), 2000) }),
        single(
            "urgent",
            adapt: { setup, _ in
                setup.client.kernel.urgentRate = 0.3
                setup.server.kernel.urgentRate = 0.3
            },
            { random in
                var plans = plain(random.int(1000...20_000), random.int(1000...20_000))
                plans.client.writeChunk = 1500
                plans.server.writeChunk = 700
                return plans
            }),
        single("simultaneous-close") { plain($0.int(0...3000), $0.int(0...3000)) },
        single("idle") { random in
            var plans = plain(random.int(2000...20_000), random.int(2000...20_000))
            plans.client.writeChunk = plans.client.total / 2 + 1
            plans.client.writePauseMilliseconds = 400_000...400_000
            plans.server.writeChunk = plans.server.total / 2 + 1
            plans.server.writePauseMilliseconds = 390_000...410_000
            return plans
        },
        single("abort", endsInError: true) { random in
            var plans = plain(random.int(1000...40_000), random.int(1000...40_000))
            let limit = random.int(0...(plans.client.total + plans.client.peerTotal - 1))
            if random.chance(0.5) { plans.client.abortsAfter = limit } else { plans.server.abortsAfter = limit }
            return plans
        },
        Scenario(name: "shutdown", endsInError: true) { run, random in
            var plans = plain(random.int(10_000...60_000), random.int(1000...30_000))
            plans.client.writeChunk = 500
            plans.client.writePauseMilliseconds = 1...10
            run.simulation.connect([plans])
            run.wait(connections: 1) { $0.applications.contains { $0.received > 2000 } }
            (random.chance(0.5) ? run.simulation.client : run.simulation.server).shutDownEngine()
            run.wait(connections: 1)
        },
        Scenario(name: "resumption") { run, random in
            for round in 0..<3 as Range<UInt16> {
                run.nextRound()
                let plans = plain(random.logarithmic(1...10_000), random.logarithmic(1...10_000))
                run.simulation.connect([plans], clientPort: 40_000 + round)
                run.wait(connections: 1)
                guard run.isWhole else { return }
            }
        },
        Scenario(name: "reuse", mayCostSYN: true) { run, random in
            for _ in 0..<2 {
                run.nextRound()
                run.simulation.connect([plain(random.logarithmic(1...5000), random.logarithmic(1...5000))])
                run.wait(connections: 1)
                guard run.isWhole else { return }
            }
        },
        Scenario(name: "mptcp") { run, random in
            let pair = run.mptcpPair()
            let failures = pair.connect(&random, mayBePlain: true)
            if failures.isEmpty, pair.isMPTCP { pair.join(1, fromClient: true, &random) }
            run.wait(connections: pair.opened)
        },
        Scenario(name: "joins") { run, random in
            let pair = run.mptcpPair()
            let failures = pair.connect(&random, mayBePlain: true)
            if failures.isEmpty, pair.isMPTCP {
                for index in 1...3 { pair.join(index, fromClient: index != 2, &random) }
            }
            run.wait(connections: pair.opened)
        },
    ]
}
