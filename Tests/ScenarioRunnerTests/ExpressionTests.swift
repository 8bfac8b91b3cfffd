import Testing

@testable import ScenarioRunner

/// What checks hold: reading, working out, explaining.
@Suite struct ExpressionTests {
    private static func known() throws -> Evaluation {
        Evaluation(known: [
            "a": try Value(
                json: """
                    {"counters": {"joins": 3}, "subflows": [
                      {"state": "encrypted", "origin": "fresh", "local": "10.71.1.1:9", "before": 100, "bytes": 5, "session_id": "x"},
                      {"state": "encrypted", "origin": "join", "local": "10.71.2.1:9", "bytes": 7, "session_id": "y"},
                      {"state": "plain", "origin": null, "local": "[fd71::1]:9", "bytes": 1, "session_id": null}]}
                    """),
            "before": .number(2),
            "text": .text("42"),
        ])
    }

    @Test(
        arguments: [
            "count(a.subflows) == 3", "count(a.subflows[state == 'encrypted']) == 2",
            "count(a.subflows[state == 'encrypted' and not origin == 'join']) == 1",
            "sorted(a.subflows[session_id != null].session_id) == ['x', \"y\"]",
            "sum(a.subflows.bytes) == 13 and min(a.subflows.bytes) == 1 and max(a.subflows.bytes) == 7",
            "a.counters.joins - before == 1", "a.counters.joins + before - 1 >= 4", "10 - 3 - 2 == 5",
            "count(unique(a.subflows.state)) == 2", "any([false, true]) and not any([false])",
            "count(a.subflows[ends(local, ':9')]) == 3", "contains(a.subflows.origin, 'join')", "contains('abc', 'b')",
            "number(text) == 42", "text(before) == '2'", "not (1 > 2) and 2 <= 2 and 3 != 4 and 'a' < 'b'",
            "false or true and true", "not false and not not true", "1_000_000 == 1000000", "all([])",
            // In brackets a member hides what is known outside, and what is not a member is looked for outside.
            "count(a.subflows[bytes > before]) == 1", "count(a.subflows[before == 100]) == 1",
            "count(a.subflows[bytes >= a.counters.joins]) == 2",
        ])
    func `holds`(text: String) throws {
        #expect(try Self.known().holds(ExpressionParser.parse(text)))
    }

    @Test(
        arguments: [
            ("count(a.subflows) == 2", ["count(a.subflows) == 2:", "  count(a.subflows) is 3"]),
            ("before == 2 and a.counters.joins < 3", ["a.counters.joins < 3:", "  a.counters.joins is 3"]),
            ("contains(a.subflows.origin, 'z')", ["contains(a.subflows.origin, 'z') is false"]),
        ] as [(String, [String])])
    func `does not hold, and says why`(text: String, why: [String]) throws {
        let expression = try ExpressionParser.parse(text)
        #expect(try Self.known().holds(expression) == false)
        #expect(try Self.known().explanation(of: expression) == why)
    }

    @Test(
        arguments: [
            ("a.counters.joinz == 1", "a.counters has no joinz; did you mean joins?"),
            ("nobody == 1", "nothing is called nobody"),
            ("count(a.counters) == 1", "count(a.counters) does not work with {\"joins\":3}"),
            ("a.subflows > 1", "a.subflows > 1: only two numbers or two texts have an order"),
            ("sum(a.subflows.local) == 1", "sum(a.subflows.local): not all are numbers"),
            ("min([]) == 1", "min([]): the list is empty"), ("before", "before is neither true nor false"),
            ("text - 1 == 1", "text is no number"), ("number('x') == 1", "number('x'): 'x' is no number"),
            ("before[true] == 1", "before is no list"),
        ])
    func `cannot be worked out`(text: String, why: String) throws {
        let expression = try ExpressionParser.parse(text)
        #expect(throws: ExpressionError(why)) { try Self.known().holds(expression) }
    }

    @Test(
        arguments: [
            ("a ==", "a value is wanted at the end", 4), ("a b", "an operator or the end is wanted instead of b", 3),
            ("(a", ") is wanted at the end", 3), ("a.1", "a name is wanted instead of 1", 3),
            ("'x", "a ' without its other", 1), ("a & b", "& means nothing here", 3),
            ("cuont(a)", "no function is called cuont; did you mean count?", 1),
            ("starts(a)", "starts takes 2, not 1", 1),
            ("1.2.3 == 1", "1.2.3 is no number", 1), ("and", "a value is wanted instead of and", 1),
            ("", "a value is wanted at the end", 1),
        ] as [(String, String, Int)])
    func `cannot be read`(text: String, why: String, column: Int) {
        #expect(throws: ExpressionError(why, column: column)) { try ExpressionParser.parse(text) }
    }

    @Test func `brackets in brackets have an end`() {
        let text = String(repeating: "(", count: 10_000) + "1" + String(repeating: ")", count: 10_000)
        #expect(throws: ExpressionError.self) { try ExpressionParser.parse(text) }
    }

    @Test(
        arguments: [
            "count(a.subflows[state == 'encrypted']) == 2", "(a and b) or (not c)", "(a - (b + c)) >= 2",
            "[1, 'x', null, true]",
        ])
    func `a description reads as the same expression`(text: String) throws {
        let expression = try ExpressionParser.parse(text)
        #expect(try ExpressionParser.parse("\(expression)") == expression)
    }

    @Test func `what has to be fetched`() throws {
        let expression = try ExpressionParser.parse(
            "count(a.subflows[bytes > b.counters.joins and local == x]) == before")
        #expect(expression.sources.map { "\($0.name).\($0.member ?? "")" } == ["a.subflows", "b.counters", "before."])
    }
}
