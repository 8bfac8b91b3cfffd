import Testing

@testable import ScenarioRunner

/// Which scenario runs when.
@Suite struct ScheduleTests {
    private static let scenarios: [(name: String, terms: Terms)] = [
        ("d", Terms()), ("measure", Terms(isAlone: true)), ("slow", Terms(isEarly: true)), ("a", Terms()),
        ("alone", Terms(isAlone: true)),
    ]

    @Test func `slow ones come first, those alone last, by name`() {
        var schedule = Schedule(Self.scenarios, jobs: 1)
        var order: [String] = []
        while let name = schedule.begin() {
            order.append(name)
            #expect(schedule.begin() == nil)
            schedule.end()
        }
        #expect(order == ["slow", "a", "d", "alone", "measure"])
    }

    @Test func `so many at once, and nothing beside one that is alone`() {
        var schedule = Schedule(Self.scenarios, jobs: 2)
        #expect(schedule.begin() == "slow")
        #expect(schedule.begin() == "a")
        #expect(schedule.begin() == nil)
        schedule.end()
        #expect(schedule.begin() == "d")
        schedule.end()
        // One of the others still runs.
        #expect(schedule.begin() == nil)
        schedule.end()
        #expect(schedule.begin() == "alone")
        #expect(schedule.begin() == nil)
        schedule.end()
        #expect(schedule.begin() == "measure")
        schedule.end()
        #expect(schedule.begin() == nil)
    }

    @Test func `the head of a script says its title and terms`() throws {
        let header = try ScriptHeader(
            """
            #!/usr/bin/env bash
            # scenario: alone limit 600
            # It goes on. In two
            # lines.
            #
            #    a --- b
            source x
            # scenario: early
            """, file: "run")
        #expect(header.title == "It goes on")
        #expect(header.text == "It goes on. In two lines.")
        #expect(header.terms == Terms(isAlone: true, isEarly: false, limit: 600))
        #expect(throws: ScenarioProblem(file: "run", line: 2, "no such word: alon; did you mean alone?")) {
            try ScriptHeader("#!/bin/sh\n# scenario: alon\n", file: "run")
        }
        #expect(throws: ScenarioProblem(file: "run", line: 1, "limit wants a number of seconds")) {
            try ScriptHeader("# scenario: limit\n", file: "run")
        }
    }

    @Test(
        arguments: [("tc123", 123), ("tc123-a", 123), ("tc7-1-99-r1", 7), ("tc123.resume.aB", 123)] as [(String, Int32)]
    )
    func `what is left behind says whose it is`(name: String, owner: Int32) {
        #expect(Leftovers.owner(of: name) == owner)
    }

    @Test(arguments: ["tc", "tcx-1", "tcb123-a", "tc12x", "other-12", "tc99999999999-a"])
    func `what others made is not taken for left behind`(name: String) {
        #expect(Leftovers.owner(of: name) == nil)
    }
}
