/// What can be called in an expression.
enum Function: String, CaseIterable {
    case count, sum, min, max, sorted, unique, any, all, text, number, starts, ends, contains

    var parameters: Int {
        switch self {
        case .starts, .ends, .contains: 2
        default: 1
        }
    }
}

/// Works expressions out over what is known.
struct Evaluation {
    /// By name, what an expression may begin with.
    let known: [String: Value]

    /// - Throws: ``ExpressionError`` where something is not what it is taken for.
    func value(of expression: Expression) throws(ExpressionError) -> Value { try value(of: expression, in: nil) }

    /// Whether it holds; what is no truth value is an error.
    func holds(_ expression: Expression) throws(ExpressionError) -> Bool { try truth(expression, in: nil) }

    private func truth(_ expression: Expression, in element: Value?) throws(ExpressionError) -> Bool {
        guard case .bool(let truth) = try value(of: expression, in: element) else {
            throw ExpressionError("\(expression) is neither true nor false")
        }
        return truth
    }

    private func value(of expression: Expression, in element: Value?) throws(ExpressionError) -> Value {
        switch expression {
        case .literal(let value): return value
        case .name(let name):
            if case .object(let members)? = element, let member = members[name] { return member }
            guard let value = known[name] else { throw ExpressionError("nothing is called \(name)") }
            return value
        case .list(let parts): return .list(try values(of: parts, in: element))
        case .member(let of, let name): return try member(name, of: try value(of: of, in: element), of)
        case .filter(let of, let condition):
            guard case .list(let values) = try value(of: of, in: element) else {
                throw ExpressionError("\(of) is no list")
            }
            var kept: [Value] = []
            for value in values where try truth(condition, in: value) { kept.append(value) }
            return .list(kept)
        case .call(let name, let parts):
            guard let function = Function(rawValue: name) else {
                throw ExpressionError("no function is called \(name)")
            }
            return try call(function, try values(of: parts, in: element), expression)
        case .comparison(let word, let left, let right):
            return .bool(
                try compare(word, try value(of: left, in: element), try value(of: right, in: element), expression))
        case .sum(let left, let right):
            return .number(try number(left, in: element) + number(right, in: element))
        case .difference(let left, let right):
            return .number(try number(left, in: element) - number(right, in: element))
        case .not(let part): return .bool(try !truth(part, in: element))
        case .and(let left, let right):
            guard try truth(left, in: element) else { return .bool(false) }
            return .bool(try truth(right, in: element))
        case .or(let left, let right):
            guard try !truth(left, in: element) else { return .bool(true) }
            return .bool(try truth(right, in: element))
        }
    }

    private func values(of parts: [Expression], in element: Value?) throws(ExpressionError) -> [Value] {
        var values: [Value] = []
        for part in parts { values.append(try value(of: part, in: element)) }
        return values
    }

    private func number(_ expression: Expression, in element: Value?) throws(ExpressionError) -> Double {
        guard case .number(let number) = try value(of: expression, in: element) else {
            throw ExpressionError("\(expression) is no number")
        }
        return number
    }

    private func member(_ name: String, of value: Value, _ expression: Expression) throws(ExpressionError) -> Value {
        switch value {
        case .object(let members):
            guard let member = members[name] else {
                throw ExpressionError("\(expression) has no \(name)" + hint(name, among: Array(members.keys)))
            }
            return member
        case .list(let values):
            var found: [Value] = []
            for value in values { found.append(try member(name, of: value, expression)) }
            return .list(found)
        default:
            throw ExpressionError("\(expression) has no members")
        }
    }

    private func compare(
        _ word: Expression.Comparison, _ left: Value, _ right: Value, _ expression: Expression
    ) throws(ExpressionError) -> Bool {
        switch word {
        case .equal: return left == right
        case .unequal: return left != right
        default: break
        }
        let isLess: Bool
        switch (left, right) {
        case (.number(let left), .number(let right)): isLess = left < right
        case (.text(let left), .text(let right)): isLess = left < right
        default: throw ExpressionError("\(expression): only two numbers or two texts have an order")
        }
        return switch word {
        case .less: isLess
        case .atLeast: !isLess
        case .atMost: isLess || left == right
        default: !isLess && left != right
        }
    }

    private func call(_ function: Function, _ values: [Value], _ expression: Expression) throws(ExpressionError)
        -> Value
    {
        let first = values.first ?? .null
        switch (function, first) {
        case (.text, _): return .text(first.plain)
        case (.number, .text(let text)):
            guard let number = Double(text.trimmingPrefix(while: \.isWhitespace)) else {
                throw ExpressionError("\(expression): '\(text)' is no number")
            }
            return .number(number)
        case (.number, .number): return first
        case (.starts, .text(let text)): return .bool(text.hasPrefix(values[1].plain))
        case (.ends, .text(let text)): return .bool(text.hasSuffix(values[1].plain))
        case (.contains, .text(let text)): return .bool(text.contains(values[1].plain))
        case (.contains, .list(let list)): return .bool(list.contains(values[1]))
        case (.count, .text(let text)): return .number(Double(text.count))
        case (_, .list(let list)): return try call(function, on: list, expression)
        default: throw ExpressionError("\(expression) does not work with \(first.json.prefix(60))")
        }
    }

    private func call(_ function: Function, on list: [Value], _ expression: Expression) throws(ExpressionError) -> Value
    {
        switch function {
        case .count: return .number(Double(list.count))
        case .unique:
            var seen: Set<Value> = []
            return .list(list.filter { seen.insert($0).inserted })
        case .sorted: return .list(list.sorted { Evaluation.isBefore($0, $1) })
        case .any: return .bool(list.contains(.bool(true)))
        case .all: return .bool(list.allSatisfy { $0 == .bool(true) })
        case .sum, .min, .max:
            var numbers: [Double] = []
            for value in list {
                guard case .number(let number) = value else {
                    throw ExpressionError("\(expression): not all are numbers")
                }
                numbers.append(number)
            }
            if function == .sum { return .number(numbers.reduce(0, +)) }
            guard let extreme = function == .min ? numbers.min() : numbers.max() else {
                throw ExpressionError("\(expression): the list is empty")
            }
            return .number(extreme)
        default: throw ExpressionError("\(expression) does not work with a list")
        }
    }

    private static func isBefore(_ one: Value, _ other: Value) -> Bool {
        if case .number(let one) = one, case .number(let other) = other { return one < other }
        return one.plain < other.plain
    }

    /// What the sides of comparisons come to, line by line, for who asks why it does not hold.
    func explanation(of expression: Expression) -> [String] {
        switch expression {
        case .and(let left, let right), .or(let left, let right):
            let parts = [left, right].filter { (try? holds($0)) != true }
            return parts.flatMap { explanation(of: $0) }
        case .not(let part): return explanation(of: part)
        case .comparison(_, let left, let right):
            return ["\(expression):"]
                + [left, right].compactMap { side in
                    if case .literal = side { return nil }
                    return "  \(side) is \(said(side))"
                }
        default: return ["\(expression) is \(said(expression))"]
        }
    }

    private func said(_ expression: Expression) -> String {
        do {
            return String(try value(of: expression).json.prefix(300))
        } catch {
            return "unknown: \(error)"
        }
    }
}
