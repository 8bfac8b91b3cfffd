import Yams

/// A place in a YAML file, and what stands there.
struct Place {
    let node: Node
    let file: String

    /// - Throws: what is wrong with the YAML.
    static func root(of text: String, file: String) throws(ScenarioProblem) -> Place {
        do {
            guard let node = try Yams.compose(yaml: text) else { throw ScenarioProblem(file: file, "it is empty") }
            return Place(node: node, file: file)
        } catch let problem as ScenarioProblem {
            throw problem
        } catch let error as YamlError {
            throw Place.problem(error, file: file)
        } catch {
            throw ScenarioProblem(file: file, "\(error)")
        }
    }

    private static func problem(_ error: YamlError, file: String) -> ScenarioProblem {
        switch error {
        case .scanner(_, let message, let mark, _), .parser(_, let message, let mark, _),
            .composer(_, let message, let mark, _):
            return ScenarioProblem(file: file, line: mark.line, column: mark.column, "not YAML: \(message)")
        case .duplicatedKeysInMapping(let keys, let context):
            return ScenarioProblem(
                file: file, line: context.mark.line, column: context.mark.column,
                "written twice: \(keys.joined(separator: ", "))")
        default:
            return ScenarioProblem(file: file, "not YAML: \(error)")
        }
    }

    var line: Int { node.mark?.line ?? 0 }

    func problem(_ message: String) -> ScenarioProblem {
        ScenarioProblem(file: file, line: line, column: node.mark?.column ?? 0, message)
    }

    func fields() throws(ScenarioProblem) -> Fields {
        guard case .mapping(let mapping) = node else {
            throw problem("names with values are wanted here (name: value)")
        }
        return try Fields(mapping, of: self)
    }

    func list() throws(ScenarioProblem) -> [Place] {
        guard case .sequence(let sequence) = node else { throw problem("a list is wanted here") }
        return sequence.map { Place(node: $0, file: file) }
    }

    var isMapping: Bool { node.mapping != nil }

    func text() throws(ScenarioProblem) -> String {
        guard case .scalar(let scalar) = node else { throw problem("a text is wanted here") }
        return scalar.string
    }

    /// One text, or a list of them.
    func texts() throws(ScenarioProblem) -> [String] {
        guard case .sequence = node else { return [try text()] }
        var texts: [String] = []
        for place in try list() { texts.append(try place.text()) }
        return texts
    }

    func number() throws(ScenarioProblem) -> Double {
        guard case .scalar = node, let number = node.float, number.isFinite, number >= 0 else {
            throw problem("a number is wanted here")
        }
        return number
    }

    func whole() throws(ScenarioProblem) -> Int {
        guard case .scalar = node, let number = node.int, number >= 0 else {
            throw problem("a whole number is wanted here")
        }
        return number
    }

    func truth() throws(ScenarioProblem) -> Bool {
        guard case .scalar = node, let truth = node.bool else { throw problem("true or false is wanted here") }
        return truth
    }

    /// As JSON has it, for what is handed on.
    func value() throws(ScenarioProblem) -> Value {
        switch node {
        case .mapping:
            var members: [String: Value] = [:]
            for (name, place) in try fields().all { members[name] = try place.value() }
            return .object(members)
        case .sequence:
            var values: [Value] = []
            for place in try list() { values.append(try place.value()) }
            return .list(values)
        case .scalar(let scalar):
            if scalar.style == .singleQuoted || scalar.style == .doubleQuoted { return .text(scalar.string) }
            if let truth = node.bool { return .bool(truth) }
            if let number = node.float { return .number(number) }
            return node.null == nil ? .text(scalar.string) : .null
        case .alias:
            throw problem("an alias does not work here")
        }
    }

    /// One of the words that are allowed here.
    func word<Word: RawRepresentable & CaseIterable>(_ type: Word.Type) throws(ScenarioProblem) -> Word
    where Word.RawValue == String {
        let text = try text()
        guard let word = Word(rawValue: text) else {
            throw problem("no such word: \(text)" + hint(text, among: Word.allCases.map(\.rawValue)))
        }
        return word
    }
}

/// The fields of a mapping, taken one by one; what nobody took is a mistake.
struct Fields {
    private var left: [(name: String, place: Place)] = []
    /// Where names stand.
    private var keys: [String: Place] = [:]
    private var asked: Set<String> = []
    private let place: Place
    var all: [(name: String, place: Place)] { left }

    init(_ mapping: Node.Mapping, of place: Place) throws(ScenarioProblem) {
        self.place = place
        for (key, value) in mapping {
            guard let name = key.string else { throw Place(node: key, file: place.file).problem("a name is a text") }
            // A value that is left out stands where its name does.
            var value = value
            if case .scalar(var scalar) = value, scalar.string.isEmpty {
                scalar.mark = key.mark
                value = .scalar(scalar)
            }
            left.append((name, Place(node: value, file: place.file)))
            keys[name] = Place(node: key, file: place.file)
        }
    }

    mutating func take(_ name: String) -> Place? {
        asked.insert(name)
        guard let index = left.firstIndex(where: { $0.name == name }) else { return nil }
        return left.remove(at: index).place
    }

    mutating func need(_ name: String) throws(ScenarioProblem) -> Place {
        if let found = take(name) { return found }
        for (written, _) in left where isNear(written, name) { throw unknown(written) }
        throw place.problem("\(name) is missing")
    }

    /// The first of those names that is there.
    mutating func takeFirst(of names: [String]) -> (name: String, place: Place)? {
        asked.formUnion(names)
        guard let index = left.firstIndex(where: { names.contains($0.name) }) else { return nil }
        return left.remove(at: index)
    }

    func finish() throws(ScenarioProblem) {
        if let (name, _) = left.first { throw unknown(name) }
    }

    private func unknown(_ name: String) -> ScenarioProblem {
        (keys[name] ?? place).problem("\(name) means nothing here" + hint(name, among: Array(asked)))
    }
}
