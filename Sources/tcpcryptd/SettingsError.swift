/// Why the configuration file cannot be used; each text names what to change.
enum SettingsError: Error, Equatable, CustomStringConvertible {
    /// The file cannot be read, or is no JSON object.
    case unreadable(path: String, reason: String)
    case unknownKey(path: String, key: String, known: [String])
    /// - `value`: as the file has it; `allowed`: what may stand there.
    case badValue(path: String, key: String, value: String, allowed: String)

    var description: String {
        switch self {
        case .unreadable(let path, let reason):
            "\(path): \(reason)"
        case .unknownKey(let path, let key, let known):
            "\(path): unknown key \"\(key)\"; known keys are \(known.joined(separator: ", "))"
        case .badValue(let path, let key, let value, let allowed):
            "\(path): \(key) is \(value), but must be \(allowed)"
        }
    }
}
