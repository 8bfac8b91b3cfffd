import Foundation
import Testing

@testable import ScenarioRunner

/// The file format: what is read, and what is said of mistakes.
@Suite struct ScenarioParserTests {
    private static func parse(_ yaml: String) throws(ScenarioProblem) -> Scenario {
        try Scenario(yaml: yaml, file: "s.yaml", name: "s", preset: TopologyTests.preset)
    }

    private static let head = "title: T\ntopology: two-paths\ncaptures: {path1: r1.tob}\n"

    @Test func `a scenario is read`() throws {
        let scenario = try Self.parse(
            """
            title: T
            alone: true
            limit: 50
            topology: {preset: two-paths, links: {far1: {rate: {right: 1mbit, left: 2mbit}}}}
            daemons: {a: {}, b: {rekey_bytes: 1000, policies: [{ports: [80]}]}}
            captures: {path1: {at: r1.tob, bytes: 100}}
            files: {www/file: {repeat: MARKER, megabytes: 2}, conf: 'x ${tmp}'}
            steps:
              - spawn: web
                run: nginx $HOME ${b.p1:6}
                on: b
                until: listening 80
              - save: before
                value: a.counters.joins
              - transfer: {from: a, to: b, megabytes: 3, mptcp: true, during: [{sleep: 0.5}]}
              - end: web
              - {run: date, on: a, save: now}
            checks:
              - check: it holds
                that: a.counters.joins - before == 1 and path1.syn_eno > 0
                within: 2
              - {check: a command, run: [echo, hello], on: a, output: hel+o}
              - {secret: MARKER, in: path1}
            """)
        #expect(scenario.terms == Terms(isAlone: true, isEarly: false, limit: 50))
        #expect(
            scenario.topology.link("far1")?.rate == "1mbit" && scenario.topology.link("far1")?.rateToLeft == "2mbit")
        #expect(scenario.daemons.map(\.host) == ["a", "b"])
        #expect(scenario.daemons[1].settings["policies"]?.json == #"[{"ports":[80]}]"#)
        #expect(
            scenario.files == [
                .init(path: "www/file", text: "MARKER", bytes: 2 << 20), .init(path: "conf", text: "x ${tmp}"),
            ])
        #expect(scenario.captures == [.init(name: "path1", node: "r1", device: "tob", snapLength: 100, filter: "tcp")])
        #expect(scenario.steps.count == 5 && scenario.checks.count == 3)
        #expect(scenario.steps.map(\.line) == [9, 13, 15, 16, 17])
        guard case .transfer(let transfer) = scenario.steps[2].action else {
            Issue.record("no transfer")
            return
        }
        #expect(transfer.isMultipath && transfer.port == 9001 && transfer.version == 4 && transfer.during.count == 1)
        // What asks a daemon, or for what was asked of one, says nothing without daemons.
        #expect(
            scenario.steps[1].isAboutEncryption && scenario.checks[0].isAboutEncryption
                && !scenario.checks[1].isAboutEncryption)
    }

    @Test(
        arguments: [
            ("title: T\ntitle: U\n", "s.yaml:1:1: written twice: title"),
            ("topology: two-paths\nsteps: []\n", "s.yaml:1:1: title is missing"),
            ("title: T\ntopolgy: x\n", "s.yaml:2:1: topolgy means nothing here; did you mean topology?"),
            (
                "title: T\ntopology: nowhere\nsteps: []\n",
                "s.yaml:2:11: no topology is called nowhere: Scenarios/topologies/nowhere.yaml is not there"
            ),
            (head + "steps:\n  - strat: a\n", "s.yaml:5:5: no step is called strat; did you mean start?"),
            (head + "steps:\n  - start: c\n", "s.yaml:5:12: no host is called c; did you mean a?"),
            (head + "steps: []\nchecks: []\nstep: []\n", "s.yaml:6:1: step means nothing here; did you mean steps?"),
            (
                head + "steps:\n  - run: echo\n    on: a\n    limt: 3\n",
                "s.yaml:7:5: limt means nothing here; did you mean limit?"
            ),
            (head + "steps:\n  - run: echo\n", "s.yaml:5:5: on is missing"),
            (head + "steps:\n  - run: echo ${tpm}\n    on: a\n", "s.yaml:5:10: ${tpm} is not known; did you mean tmp?"),
            (head + "files: {f: '${tpm}'}\nsteps: []\n", "s.yaml:4:12: ${tpm} is not known; did you mean tmp?"),
            (
                head + "steps:\n  - run: echo ${x\n    on: a\n",
                "s.yaml:5:10: ${ without } (shell variables are written without braces)"
            ),
            (
                head + "steps:\n  - check: x\n    that: a.cuonters.joins == 1\n",
                "s.yaml:6:11: a has no cuonters; did you mean counters?"
            ),
            (
                head + "steps:\n  - check: x\n    that: path2.syn == 1\n",
                "s.yaml:6:11: nothing is called path2; did you mean path1?"
            ),
            (
                head + "steps:\n  - check: x\n    that: r1.counters.joins == 1\n",
                "s.yaml:6:11: r1 has no counters; there are bytes"
            ),
            (
                head + "steps:\n  - check: x\n    that: a.counters.joins = 1\n",
                "s.yaml:6:11: at its character 18: = means nothing here"
            ),
            (head + "steps:\n  - await: web\n", "s.yaml:5:12: nothing called web was spawned"),
            (
                head + "steps:\n  - secret: X\n    in: path9\n",
                "s.yaml:6:9: no capture is called path9; did you mean path1?"
            ),
            (
                head + "steps:\n  - device: a.p9\n    state: up\n",
                "s.yaml:5:13: no device is called a.p9; did you mean a.p1?"
            ),
            (
                head + "steps:\n  - device: a.p1\n    state: away\n",
                "s.yaml:6:12: no such word: away; there are down, up"
            ),
            (
                head + "steps:\n  - link: far1\n    wire: loss=1%\n",
                "s.yaml:5:11: link far1 has no wire in the topology"
            ),
            (head + "steps:\n  - sleep: long\n", "s.yaml:5:12: a number is wanted here"),
            (head + "steps:\n  - run: x\n    on: a\n    output: '('\n", "s.yaml:7:13: no pattern: ("),
            (head + "steps: 3\n", "s.yaml:4:8: a list is wanted here"),
            ("title: [\n", "s.yaml:2:1: not YAML: did not find expected node content"),
            ("", "s.yaml: it is empty"),
        ] as [(String, String)])
    func `a mistake has its place`(yaml: String, message: String) {
        do {
            _ = try Self.parse(yaml)
            Issue.record("it was read")
        } catch {
            #expect("\(error)" == message)
        }
    }

    @Test(
        arguments: [
            ("{nodes: {a: hots}}", "no such word: hots; did you mean host?"),
            ("{nodes: {r: router}}", "there is no host"),
            ("{nodes: {a-b: host}}", "a-b: a node's name is a letter and up to 11 letters and digits"),
            (
                "{nodes: {a: host}, links: {l: [a.p1 10.0.0.1/24]}}",
                "a link has two ends: [NODE.DEVICE ADDRESS..., NODE.DEVICE ADDRESS...]"
            ),
            (
                "{nodes: {a: host}, links: {l: [a.p1 10.0.0/24, a.p2]}}",
                "10.0.0/24 is no address, such as 10.71.1.1/24 or fd71:1::1/64"
            ),
            ("{nodes: {a: host}, links: {l: [a.p1, c.p2]}}", "link l: no node is called c; did you mean a?"),
            ("{nodes: {a: host}, links: {l: [a.p1, a.p1]}}", "link l: a.p1 is an end of two links"),
            (
                "{nodes: {a: host, s: bridge}, links: {l: [a.p1, s.p1 10.0.0.1/24]}}",
                "link l: bridge s has no addresses"
            ),
            ("{nodes: {a: host, n: nat}, links: {}}", "outside is missing: the device that hides addresses"),
            ("{nodes: {a: host, n: {kind: nat, outside: x}}}", "n has no device x"),
            (
                "{preset: two-paths, links: {far9: {rate: 1mbit}}}",
                "ends is missing, and the preset has no link far9; did you mean far1?"
            ),
            ("{preset: two-paths, endpoints: {r1: []}}", "no host is called r1"),
            ("{preset: ../lib}", "no topology is called ../lib: Scenarios/topologies/../lib.yaml is not there"),
        ])
    func `a topology that cannot be`(yaml: String, message: String) {
        let problem = #expect(throws: ScenarioProblem.self) { try TopologyTests.topology(yaml) }
        #expect(problem?.message == message)
    }

    @Test func `texts name addresses and saved values`() throws {
        let topology = try TopologyTests.topology("two-paths")
        let text = try Interpolation("http://${b}:80 $x ${b.p2} ${a:6} ${a.p2:6} ${n}").text { name in
            name == "n" ? "7" : Interpolation.address(name, in: topology)
        }
        #expect(text == "http://10.72.1.1:80 $x 10.72.2.1 fd71:1::1 fd71:2::1 7")
        #expect(throws: ExpressionError("${m} has no value")) { try Interpolation("${m}").text { _ in nil } }
    }

    @Test func `every scenario and topology of the tree can be read`() throws {
        let catalog = try Catalog(folder: TopologyTests.folder.path)
        for entry in catalog.entries {
            if case .broken(let problem) = entry.kind { Issue.record("\(problem)") }
            #expect(!entry.title.isEmpty, "\(entry.name)")
        }
        let files = try FileManager.default.contentsOfDirectory(
            atPath: TopologyTests.folder.appendingPathComponent("topologies").path)
        for file in files { #expect(throws: Never.self) { try catalog.topology(String(file.dropLast(".yaml".count))) } }
        #expect(files.count >= 9)
        #expect(throws: ScenarioProblem.self) { try catalog.named("two-path") }
    }
}
