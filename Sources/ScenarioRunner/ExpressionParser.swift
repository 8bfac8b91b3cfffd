/// Reads an ``Expression``, going down from the weakest operator.
struct ExpressionParser {
    private enum Token: Equatable {
        case number(Double)
        case text(String)
        case word(String)
        case sign(String)
    }
    private var tokens: [(token: Token, column: Int)] = []
    private var next = 0
    /// How deep it is in brackets: what nobody writes by hand must not overflow the stack.
    private var depth = 0
    private static let deepest = 50

    static func parse(_ text: String) throws(ExpressionError) -> Expression {
        var parser = ExpressionParser()
        try parser.split(text)
        let expression = try parser.disjunction()
        guard parser.next == parser.tokens.count else { throw parser.unexpected("an operator or the end") }
        return expression
    }

    // MARK: words

    private static let signs = ["==", "!=", "<=", ">=", "<", ">", "+", "-", "(", ")", "[", "]", ".", ","]

    private mutating func split(_ text: String) throws(ExpressionError) {
        var rest = text[...]
        while let first = rest.first {
            let column = text.distance(from: text.startIndex, to: rest.startIndex) + 1
            if first.isWhitespace {
                rest.removeFirst()
            } else if first == "'" || first == "\"" {
                let body = rest.dropFirst()
                guard let end = body.firstIndex(of: first) else {
                    throw ExpressionError("a \(first) without its other", column: column)
                }
                tokens.append((.text(String(body[..<end])), column))
                rest = body[body.index(after: end)...]
            } else if first.isASCII, first.isNumber {
                let digits = rest.prefix { $0.isASCII && ($0.isNumber || $0 == "." || $0 == "_") }
                guard let number = Double(digits.filter { $0 != "_" }) else {
                    throw ExpressionError("\(digits) is no number", column: column)
                }
                tokens.append((.number(number), column))
                rest = rest.dropFirst(digits.count)
            } else if first.isLetter || first == "_" {
                let word = rest.prefix { $0.isLetter || $0.isNumber || $0 == "_" }
                tokens.append((.word(String(word)), column))
                rest = rest.dropFirst(word.count)
            } else if let sign = ExpressionParser.signs.first(where: { rest.hasPrefix($0) }) {
                tokens.append((.sign(sign), column))
                rest = rest.dropFirst(sign.count)
            } else {
                throw ExpressionError("\(first) means nothing here", column: column)
            }
        }
    }

    private var current: Token? { next < tokens.count ? tokens[next].token : nil }

    private mutating func take(_ token: Token) -> Bool {
        guard current == token else { return false }
        next += 1
        return true
    }

    private mutating func need(_ sign: String) throws(ExpressionError) {
        guard take(.sign(sign)) else { throw unexpected(sign) }
    }

    private func unexpected(_ wanted: String) -> ExpressionError {
        guard next < tokens.count else {
            return ExpressionError("\(wanted) is wanted at the end", column: (tokens.last?.column ?? 0) + 1)
        }
        let found =
            switch tokens[next].token {
            case .number(let number): Value.number(number).plain
            case .text(let text): "'\(text)'"
            case .word(let word): word
            case .sign(let sign): sign
            }
        return ExpressionError("\(wanted) is wanted instead of \(found)", column: tokens[next].column)
    }

    // MARK: operators

    private mutating func disjunction() throws(ExpressionError) -> Expression {
        depth += 1
        defer { depth -= 1 }
        guard depth <= ExpressionParser.deepest else {
            throw ExpressionError("too many brackets in brackets", column: next)
        }
        var left = try conjunction()
        while take(.word("or")) { left = .or(left, try conjunction()) }
        return left
    }

    private mutating func conjunction() throws(ExpressionError) -> Expression {
        var left = try negation()
        while take(.word("and")) { left = .and(left, try negation()) }
        return left
    }

    private mutating func negation() throws(ExpressionError) -> Expression {
        var isNegated = false
        var isNot = false
        while take(.word("not")) {
            isNegated.toggle()
            isNot = true
        }
        let part = try comparison()
        return isNegated ? .not(part) : isNot ? .not(.not(part)) : part
    }

    private mutating func comparison() throws(ExpressionError) -> Expression {
        let left = try sum()
        guard case .sign(let sign) = current, let word = Expression.Comparison(rawValue: sign) else { return left }
        next += 1
        return .comparison(word, left, try sum())
    }

    private mutating func sum() throws(ExpressionError) -> Expression {
        var left = try value()
        while true {
            if take(.sign("+")) {
                left = .sum(left, try value())
            } else if take(.sign("-")) {
                left = .difference(left, try value())
            } else {
                return left
            }
        }
    }

    private mutating func value() throws(ExpressionError) -> Expression {
        var value = try first()
        while true {
            if take(.sign(".")) {
                guard case .word(let name) = current else { throw unexpected("a name") }
                next += 1
                value = .member(value, name)
            } else if take(.sign("[")) {
                value = .filter(value, try disjunction())
                try need("]")
            } else {
                return value
            }
        }
    }

    private mutating func first() throws(ExpressionError) -> Expression {
        guard let token = current else { throw unexpected("a value") }
        switch token {
        case .number(let number):
            next += 1
            return .literal(.number(number))
        case .text(let text):
            next += 1
            return .literal(.text(text))
        case .word(let word) where !["and", "or", "not"].contains(word):
            next += 1
            return try called(word)
        case .sign("("):
            next += 1
            let inner = try disjunction()
            try need(")")
            return inner
        case .sign("["):
            next += 1
            return .list(try parts(until: "]"))
        default:
            throw unexpected("a value")
        }
    }

    private mutating func called(_ word: String) throws(ExpressionError) -> Expression {
        let column = tokens[next - 1].column
        switch word {
        case "true": return .literal(.bool(true))
        case "false": return .literal(.bool(false))
        case "null": return .literal(.null)
        default: break
        }
        guard take(.sign("(")) else { return .name(word) }
        guard let function = Function(rawValue: word) else {
            throw ExpressionError(
                "no function is called \(word)" + hint(word, among: Function.allCases.map(\.rawValue)), column: column)
        }
        let parts = try parts(until: ")")
        guard parts.count == function.parameters else {
            throw ExpressionError("\(word) takes \(function.parameters), not \(parts.count)", column: column)
        }
        return .call(word, parts)
    }

    private mutating func parts(until end: String) throws(ExpressionError) -> [Expression] {
        var parts: [Expression] = []
        guard !take(.sign(end)) else { return parts }
        repeat { parts.append(try disjunction()) } while take(.sign(","))
        try need(end)
        return parts
    }
}
