/// A text with `${name}` in it. `$name` is left to the shell.
struct Interpolation {
    private var parts: [(text: String, name: String?)] = []

    /// What is always known: the scenario's own folder, Scenarios/tools, the programs of this project, the tree, Python.
    static let builtIn = ["tmp", "tools", "bin", "root", "python"]

    var names: [String] { parts.compactMap(\.name) }

    /// - Throws: where a brace is not closed.
    init(_ text: String) throws(ExpressionError) {
        var rest = text[...]
        while let start = rest.ranges(of: "${").first {
            guard let end = rest[start.upperBound...].firstIndex(of: "}") else {
                throw ExpressionError("${ without } (shell variables are written without braces)")
            }
            parts.append((String(rest[..<start.lowerBound]), String(rest[start.upperBound..<end])))
            rest = rest[rest.index(after: end)...]
        }
        parts.append((String(rest), nil))
    }

    /// - Throws: where a name has no value.
    func text(_ value: (String) -> String?) throws(ExpressionError) -> String {
        var text = ""
        for part in parts {
            text += part.text
            guard let name = part.name else { continue }
            guard let value = value(name) else { throw ExpressionError("${\(name)} has no value") }
            text += value
        }
        return text
    }

    /// `a` and `a.p1` are IPv4 addresses where there is one, `a:6` is an IPv6 one.
    static func address(_ name: String, in topology: Topology) -> String? {
        let parts = name.split(separator: ":")
        guard let first = parts.first, parts.count <= 2 else { return nil }
        let versions = parts.count == 2 ? Int(parts[1]).map { [$0] } ?? [] : [4, 6]
        let addresses = topology.end(String(first))?.addresses ?? topology.ends(of: String(first)).flatMap(\.addresses)
        return versions.lazy.compactMap { version in addresses.first { $0.version == version } }.first?.host
    }
}
