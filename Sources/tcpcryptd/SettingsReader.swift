import Configuration
import ControlProtocol
import Glibc
import SystemPackage

/// Reads typed settings and says exactly what is wrong with a bad one.
struct SettingsReader {
    let path: String
    private let reader: ConfigReader
    private let members: [JSONMember]

    /// - Parameter optional: whether the file may be absent, which means no settings.
    init(path: String, optional: Bool) async throws(SettingsError) {
        try Self.requireReadable(path, optional: optional)
        do {
            let provider = try await FileProvider<StrictJSONSnapshot>(
                filePath: FilePath(path), allowMissing: optional)
            members = (provider.snapshot() as? StrictJSONSnapshot)?.members ?? []
            reader = ConfigReader(provider: provider)
        } catch let error as StrictJSONSnapshot.Malformed {
            throw .unreadable(path: path, reason: error.description)
        } catch {
            throw .unreadable(path: path, reason: "cannot be read: \(error)")
        }
        self.path = path
    }

    /// Says in the system's words why a file cannot be read: the library's are for programmers.
    private static func requireReadable(_ path: String, optional: Bool) throws(SettingsError) {
        var status = stat()
        var code = unsafe stat(path, &status) == 0 && access(path, R_OK) == 0 ? 0 : errno
        if code == ENOENT, optional { return }
        if code == 0, status.st_mode & S_IFMT == S_IFDIR { code = EISDIR }
        if code != 0 {
            throw .unreadable(
                path: path, reason: "cannot be read: \(Errno(rawValue: code)); name a settings file with --config")
        }
    }

    /// Refuses keys that nobody reads.
    func requireKnown(_ keys: [String]) throws(SettingsError) {
        for member in members where !keys.contains(member.name) {
            throw .unknownKey(path: path, key: member.name, known: keys)
        }
    }

    func bool(_ key: String, default fallback: Bool) throws(SettingsError) -> Bool {
        try value(key, "true or false", default: fallback) { try reader.requiredBool(forKey: $0) }
    }

    func integer(_ key: String, in range: ClosedRange<Int>, default fallback: Int) throws(SettingsError) -> Int {
        let allowed = "an integer from \(range.lowerBound) to \(range.upperBound)"
        let integer = try value(key, allowed, default: fallback) { try reader.requiredInt(forKey: $0) }
        guard range.contains(integer) else { throw bad(key, allowed) }
        return integer
    }

    func integers(_ key: String, in range: ClosedRange<Int>, default fallback: [Int]) throws(SettingsError) -> [Int] {
        let allowed = "an array of integers from \(range.lowerBound) to \(range.upperBound)"
        let integers = try value(key, allowed, default: fallback) { try reader.requiredIntArray(forKey: $0) }
        guard integers.allSatisfy(range.contains) else { throw bad(key, allowed) }
        return integers
    }

    func absolutePath(_ key: String) throws(SettingsError) -> String? {
        let allowed = "an absolute path"
        guard has(key) else { return nil }
        let path = try value(key, allowed, default: "") { try reader.requiredString(forKey: $0) }
        guard path.hasPrefix("/"), !path.utf8.contains(0) else { throw bad(key, allowed) }
        return path
    }

    func strings(
        _ key: String, _ allowed: String, default fallback: [String], where isAllowed: (String) -> Bool
    ) throws(SettingsError) -> [String] {
        let strings = try value(key, allowed, default: fallback) { try reader.requiredStringArray(forKey: $0) }
        guard strings.allSatisfy(isAllowed) else { throw bad(key, allowed) }
        return strings
    }

    /// One of the choices, by name without regard to case.
    func choice<Choice: Equatable>(
        _ key: String, _ choices: [(name: String, value: Choice)], default fallback: Choice
    ) throws(SettingsError) -> Choice {
        let allowed = "one of \(names(choices))"
        guard has(key) else { return fallback }
        let name = try value(key, allowed, default: "") { try reader.requiredString(forKey: $0) }
        guard let choice = find(name, choices) else { throw bad(key, allowed) }
        return choice
    }

    /// Several different ones of the choices, in the order of the file.
    func choices<Choice: Equatable>(
        _ key: String, _ choices: [(name: String, value: Choice)], default fallback: [Choice]
    ) throws(SettingsError) -> [Choice] {
        let allowed = "an array of different names out of \(names(choices))"
        guard has(key) else { return fallback }
        var chosen: [Choice] = []
        for name in try value(key, allowed, default: [], read: { try reader.requiredStringArray(forKey: $0) }) {
            guard let choice = find(name, choices), !chosen.contains(choice) else { throw bad(key, allowed) }
            chosen.append(choice)
        }
        return chosen
    }

    /// The complaint about a value that is there.
    func bad(_ key: String, _ allowed: String) -> SettingsError {
        .badValue(path: path, key: key, value: member(key)?.text ?? "absent", allowed: allowed)
    }

    // MARK: - Lookup

    func member(_ key: String) -> JSONValue? { members.first { $0.name == key }?.value }

    func has(_ key: String) -> Bool { member(key) != nil }

    private func value<Value>(
        _ key: String, _ allowed: String, default fallback: Value, read: (ConfigKey) throws -> Value
    ) throws(SettingsError) -> Value {
        guard has(key) else { return fallback }
        do { return try read(ConfigKey([key])) } catch { throw bad(key, allowed) }
    }

    /// The first name of each choice.
    private func names<Choice: Equatable>(_ choices: [(name: String, value: Choice)]) -> String {
        let distinct = choices.enumerated().filter { index, choice in
            !choices[..<index].contains { $0.value == choice.value }
        }
        return distinct.map { "\"\($0.element.name)\"" }.joined(separator: ", ")
    }

    private func find<Choice>(_ name: String, _ choices: [(name: String, value: Choice)]) -> Choice? {
        choices.first { $0.name.lowercased() == name.lowercased() }?.value
    }
}
