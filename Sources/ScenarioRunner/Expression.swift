/// What a check holds: `count(a.subflows[state == 'encrypted']) == 2 and b.counters.joins >= 1`.
///
/// From weak to strong: `or`, `and`, `not`, comparisons, `+` and `-`, then what comes after a value: `.name` (a member; of a list that
/// of each of its objects) and `[condition]` (those of a list for which it holds; names in it are members of the element first).
public indirect enum Expression: Equatable, Sendable {
    public enum Comparison: String, CaseIterable, Sendable {
        case equal = "=="
        case unequal = "!="
        case atMost = "<="
        case atLeast = ">="
        case less = "<"
        case more = ">"
    }
    case literal(Value)
    case name(String)
    case list([Expression])
    case member(Expression, String)
    case filter(Expression, Expression)
    case call(String, [Expression])
    case comparison(Comparison, Expression, Expression)
    case sum(Expression, Expression)
    case difference(Expression, Expression)
    case not(Expression)
    case and(Expression, Expression)
    case or(Expression, Expression)

    /// Names at the outermost level with the member asked of each, if any: `a.subflows` is ("a", "subflows").
    var sources: [(name: String, member: String?)] { sources(isInside: false) }

    private func sources(isInside: Bool) -> [(name: String, member: String?)] {
        switch self {
        case .literal: []
        case .name(let name): isInside ? [] : [(name, nil)]
        case .member(.name(let name), let member): [(name, member)]
        case .member(let of, _): of.sources(isInside: isInside)
        // In brackets a bare name is a member of the element, and `a.counters` still that of a host.
        case .filter(let of, let condition): of.sources(isInside: isInside) + condition.sources(isInside: true)
        case .list(let parts), .call(_, let parts): parts.flatMap { $0.sources(isInside: isInside) }
        case .comparison(_, let left, let right), .sum(let left, let right), .difference(let left, let right),
            .and(let left, let right), .or(let left, let right):
            left.sources(isInside: isInside) + right.sources(isInside: isInside)
        case .not(let part): part.sources(isInside: isInside)
        }
    }
}

extension Expression: CustomStringConvertible {
    public var description: String {
        switch self {
        case .literal(.text(let text)): "'\(text)'"
        case .literal(let value): value.plain
        case .name(let name): name
        case .list(let parts): "[\(parts.map(\.description).joined(separator: ", "))]"
        case .member(let of, let name): "\(of.bracketed).\(name)"
        case .filter(let of, let condition): "\(of.bracketed)[\(condition)]"
        case .call(let name, let parts): "\(name)(\(parts.map(\.description).joined(separator: ", ")))"
        case .comparison(let word, let left, let right): "\(left.bracketed) \(word.rawValue) \(right.bracketed)"
        case .sum(let left, let right): "\(left) + \(right.bracketed)"
        case .difference(let left, let right): "\(left) - \(right.bracketed)"
        case .not(let part): "not \(part.bracketed)"
        case .and(let left, let right): "\(left.bracketed) and \(right.bracketed)"
        case .or(let left, let right): "\(left.bracketed) or \(right.bracketed)"
        }
    }

    private var bracketed: String {
        switch self {
        case .sum, .difference, .comparison, .not, .and, .or: "(\(self))"
        default: "\(self)"
        }
    }
}

/// What cannot be read or worked out.
struct ExpressionError: Error, Equatable, CustomStringConvertible {
    let description: String
    /// In the text, from 1; 0 where it has no place.
    var column = 0

    init(_ description: String, column: Int = 0) {
        self.description = description
        self.column = column
    }
}
