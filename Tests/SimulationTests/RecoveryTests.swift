import FlowEngine
import TestSupport
import Testing

/// What a loss costs: the same losses with engines and without, in virtual time and in timeouts of the kernels.
@Suite struct RecoveryTests {
    /// Losses at chosen places of a run, whose course without them is known.
    struct Course: Sendable, CustomTestStringConvertible {
        typealias Plan = (toServer: [PlannedLoss], toClient: [PlannedLoss])
        let name: String
        /// Seconds that the key exchange may cost on top.
        var grace = 0.0
        let plan: @Sendable (Outcome, inout SeededRandom) -> Plan
        var testDescription: String { name }
    }

    struct Outcome {
        var seconds: Double
        var timeouts: Int
        /// Of the stream on the wire.
        var length: Int
        var roundTrip: Int64
        var report: Report
    }

    /// What losses cost in all runs of a course.
    struct Total {
        var extra = [0.0, 0.0]
        var timeouts = [0, 0]
        var runs = 0
    }

    static let courses: [Course] = [
        Course(name: "oneFlight") { clean, _ in ([.silence(at: clean.at(0.5), for: clean.roundTrip)], []) },
        Course(name: "threeFlights") { clean, _ in
            ([0.3, 0.5, 0.7].map { .silence(at: clean.at($0), for: clean.roundTrip) }, [])
        },
        Course(name: "longSilence") { clean, _ in ([.silence(at: clean.at(0.5), for: 1_500_000_000)], []) },
        Course(name: "acksLost") { clean, _ in ([], [.deafness(at: clean.at(0.4), for: clean.roundTrip)]) },
        Course(name: "acksLostLong") { clean, _ in ([], [.deafness(at: clean.at(0.4), for: 1_000_000_000)]) },
        Course(name: "bothSilent") { clean, _ in
            let length = 2 * clean.roundTrip
            return ([.silence(at: clean.at(0.5), for: length)], [.deafness(at: clean.at(0.4), for: length)])
        },
        Course(name: "onePacket") { clean, random in
            let place = clean.at(0.9 * random.fraction())
            return ([.data(place..<place + 1, times: 1)], [])
        },
        Course(name: "lostRetransmission") { clean, random in
            let place = clean.at(0.9 * random.fraction())
            return ([.data(place..<place + 1, times: random.int(2...3))], [])
        },
        Course(name: "severalPackets") { clean, random in
            let place = clean.at(0.9 * random.fraction())
            return ([.data(place..<place + random.int(2_000...20_000), times: 1)], [])
        },
        Course(name: "tail") { clean, random in
            ([.data(clean.length - random.int(1...5000)..<clean.length + 1, times: 1)], [])
        },
        Course(name: "tailTwice") { clean, random in
            ([.data(clean.length - random.int(1...5000)..<clean.length + 1, times: 2)], [])
        },
        Course(name: "syn") { _, random in
            random.chance(0.5) ? ([.syn(times: 1)], []) : ([], [.syn(times: 1)])
        },
        Course(name: "first", grace: 3) { _, random in
            let times = random.int(1...3)
            return random.chance(0.5) ? ([.first(times: times)], []) : ([], [.first(times: times)])
        },
        Course(name: "fin") { _, random in
            let times = random.int(1...3)
            return random.chance(0.5) ? ([.fin(times: times)], []) : ([], [.fin(times: times)])
        },
    ]

    /// No run may cost much more than without engines, and all of them together no more: no timeout per segment.
    @Test(arguments: courses) func recovery(_ course: Course) async {
        var total = Total()
        await Runs.each(Runs.whole(80), "recovery") { seed, trace in
            Self.compare(course, seed, trace, &total)
        }
        print(
            "recovery, \(course.name): \(total.runs) runs, seconds lost \(total.extra.map { Int($0 * 10) }.map { Double($0) / 10 }),"
                + " timeouts \(total.timeouts), without engines and with them")
        guard total.runs >= 50 else { return }
        let runs = Double(total.runs)
        #expect(total.extra[1] <= 1.15 * total.extra[0] + runs * (course.grace / 2 + 0.02), "\(course.name)")
        #expect(
            Double(total.timeouts[1]) <= 1.15 * Double(total.timeouts[0]) + runs * (course.grace / 2 + 0.05),
            "\(course.name)")
    }

    private static func compare(_ course: Course, _ seed: UInt64, _ trace: Bool, _ total: inout Total) -> Report {
        var random = SeededRandom(seed: seed &* 64 &+ 16)
        var setup = Self.setup(&random)
        let plans = Self.plans(&random)
        let simulationSeed = random.next()
        var lossy: [Outcome] = []
        var extra: [Double] = []
        for hasEngines in [false, true] {
            var losses = random
            setup.client.hasEngine = hasEngines
            setup.server.hasEngine = hasEngines
            (setup.toServer.plannedLosses, setup.toClient.plannedLosses) = ([], [])
            let clean = Self.run(setup, plans, simulationSeed, trace: false)
            (setup.toServer.plannedLosses, setup.toClient.plannedLosses) = course.plan(clean, &losses)
            lossy.append(Self.run(setup, plans, simulationSeed, trace: trace))
            extra.append(lossy[lossy.count - 1].seconds - clean.seconds)
        }
        var report = lossy[1].report
        for side in 0...1 {
            total.extra[side] += extra[side]
            total.timeouts[side] += lossy[side].timeouts
        }
        total.runs += 1
        let roundTrip = Double(lossy[1].roundTrip) / 1e9
        if extra[1] > 2 * extra[0] + 1 + 4 * roundTrip + course.grace
            || lossy[1].timeouts > 2 * lossy[0].timeouts + 2 + Int(course.grace)
        {
            report.failures.append(
                "\(course.name): \(extra[1]) s and \(lossy[1].timeouts) timeouts where \(extra[0]) s and"
                    + " \(lossy[0].timeouts) do without engines")
        }
        return report
    }

    private static func setup(_ random: inout SeededRandom) -> Simulation.Setup {
        var setup = Simulation.Setup()
        let delay = random.logarithmic(1_000...50_000)
        let mtu = random.pick([1500, 1500, 1500, 1280, 9000])
        for path in [\Simulation.Setup.toServer, \.toClient] {
            setup[keyPath: path].delayMicroseconds = delay
            setup[keyPath: path].rate = random.pick([250, 1250, 12_500])
            setup[keyPath: path].coalesces = random.chance(0.5)
        }
        for side in [\Simulation.Setup.client, \.server] {
            setup[keyPath: side].mtu = mtu
            setup[keyPath: side].kernel.mtu = mtu
            setup[keyPath: side].kernel.reboundaryRate = 0
            setup[keyPath: side].kernel.usesGSO = random.chance(0.7)
            setup[keyPath: side].kernel.usesTimestamps = random.chance(0.7)
        }
        return setup
    }

    private static func plans(_ random: inout SeededRandom) -> (client: ApplicationPlan, server: ApplicationPlan) {
        let total = random.int(50_000...400_000)
        let up = PatternStream(number: 1)
        let down = PatternStream(number: 2)
        var server = ApplicationPlan(stream: down, total: 100, peerStream: up, peerTotal: total)
        server.closesAfterReading = true
        return (ApplicationPlan(stream: up, total: total, peerStream: down, peerTotal: 100), server)
    }

    private static func run(
        _ setup: Simulation.Setup, _ plans: (client: ApplicationPlan, server: ApplicationPlan), _ seed: UInt64,
        trace: Bool
    ) -> Outcome {
        let simulation = Simulation(seed: seed, setup, trace: trace)
        simulation.record.mayBePlain = !setup.client.hasEngine
        simulation.connect([plans])
        let start = simulation.network.now.nanoseconds
        let isDone = simulation.run(seconds: 300) {
            simulation.applications.count == 2 && simulation.applications.allSatisfy(\.isComplete)
        }
        let end = simulation.network.now.nanoseconds
        var failures: [String] = isDone ? [] : ["stalled: " + simulation.state]
        if setup.client.hasEngine { failures += simulation.encryptionFailures }
        let coverage = simulation.coverage
        return Outcome(
            seconds: Double(end - start) / 1e9,
            timeouts: coverage[.timeout, default: 0] + coverage[.reneging, default: 0],
            length: simulation.record.streamLength(to: 5001),
            roundTrip: Int64(setup.toServer.delayMicroseconds + setup.toClient.delayMicroseconds) * 1000,
            report: simulation.report(failures))
    }
}

extension RecoveryTests.Outcome {
    /// A place of the stream.
    func at(_ share: Double) -> Int { Int(Double(length) * share) }
}

extension SeededRandom {
    /// From 0 to 1.
    mutating func fraction() -> Double { Double(int(0...1_000_000)) / 1_000_000 }
}
