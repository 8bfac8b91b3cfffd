import Testing

@testable import ScenarioRunner

/// What scenarios write, as verdicts, and what is reported of it.
@Suite struct ReportTests {
    private static let said = """
        noise
        ok - it works
        # 100 Mbit/s
        not ok - it goes on
        #   '1' is not '2'
        #   more
        # end of the log
        skip - this # here
        #   no detail of a skip
        """

    private static var outcome: Outcome {
        let lines = OutputLines(text: said)
        return Outcome(
            name: "one", title: "One", assertions: lines.assertions, notes: lines.notes, ending: .exited(1),
            seconds: 2.4,
            lastLines: lines.lastLines)
    }

    @Test func `lines become assertions with their details, and notes`() {
        let lines = OutputLines(text: Self.said)
        #expect(
            lines.assertions == [
                Assertion(.passed, "it works"), Assertion(.failed, "it goes on", details: ["'1' is not '2'", "more"]),
                Assertion(.skipped, "this # here"),
            ])
        #expect(lines.notes == ["100 Mbit/s", "end of the log", "  no detail of a skip"])
    }

    @Test func `an assertion's lines are read back`() {
        let assertion = Assertion(.failed, "title", details: ["a", "  b"])
        #expect(OutputLines(text: assertion.lines.joined(separator: "\n")).assertions == [assertion])
    }

    @Test func `what ends badly without a failed assertion counts as one`() {
        let passed = [Assertion(.passed, "x")]
        #expect(Outcome(name: "", title: "", assertions: passed).failures == 0)
        #expect(Outcome(name: "", title: "", assertions: passed, ending: .exited(3)).failures == 1)
        #expect(
            Outcome(name: "", title: "", assertions: passed, ending: .timedOut(seconds: 9)).complaint
                == "ended after 9 s, its limit")
        #expect(Outcome(name: "", title: "").complaint == "it asserted nothing")
        #expect(Self.outcome.failures == 1 && Self.outcome.complaint == nil)
    }

    @Test func `who requires all gets no skips`() {
        let skipped = Outcome(name: "s", title: "", assertions: [Assertion(.passed, "x"), Assertion(.skipped, "y")])
        let totals = Totals([skipped])
        #expect(totals.isGood(requiresAll: false) && !totals.isGood(requiresAll: true))
        let text = TextReport(isColoured: false)
        #expect(text.summary(of: [skipped], requiresAll: false) == "1 passed, 0 failed, 1 skipped\n")
        #expect(
            text.summary(of: [skipped], requiresAll: true)
                == "failed: 1 skipped, and --require-all was asked for\n1 passed, 1 failed\n")
    }

    @Test func `TAP has a subtest for each scenario`() {
        var report = TAPReport()
        #expect(report.head(of: 2) == "TAP version 14\n1..2\n")
        #expect(
            report.text(of: Self.outcome) == """
                # Subtest: one
                    ok 1 - it works
                    not ok 2 - it goes on
                    # '1' is not '2'
                    # more
                    ok 3 - this \\# here # SKIP
                    1..3
                    # 100 Mbit/s
                    # end of the log
                    #   no detail of a skip
                not ok 1 - one

                """)
        #expect(
            report.text(of: Outcome(name: "two", title: "")).hasSuffix(
                "    1..0\nnot ok 2 - two\n# it asserted nothing\n"))
    }

    @Test func `JSON has everything, by name`() throws {
        let good = Outcome(name: "a", title: "A", assertions: [Assertion(.passed, "x")])
        guard case .object(let report) = try Value(json: JSONReport([Self.outcome, good]).text()),
            case .list(let scenarios)? = report["scenarios"], case .object(let last)? = scenarios.last
        else {
            Issue.record("no object")
            return
        }
        #expect(report["passed"] == .number(2) && report["failed"] == .number(1) && report["skipped"] == .number(1))
        #expect(
            last["name"] == .text("one") && last["result"] == .text("failed") && last["ending"] == .text("status 1"))
        guard case .list(let assertions)? = last["assertions"] else { return }
        #expect(
            assertions[1]
                == .object([
                    "result": .text("failed"), "title": .text("it goes on"),
                    "details": .list([.text("'1' is not '2'"), .text("more")]),
                ]))
    }

    @Test func `a text report shows what failed, and colour only where it is wanted`() {
        let plain = TextReport(isColoured: false).text(of: Self.outcome, log: "one.log")
        #expect(
            plain.hasPrefix(
                "FAILED  one, 2 s: 1 of 2 assertions; one.log\n    not ok - it goes on\n    #   '1' is not '2'\n"))
        #expect(!plain.contains("\u{1B}") && !plain.contains("end of the log") && plain.contains("# 100 Mbit/s"))
        #expect(TextReport(isColoured: true).text(of: Self.outcome, log: "").contains("\u{1B}[31mFAILED"))
    }
}
