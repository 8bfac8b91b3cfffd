import Configuration
import ControlProtocol

/// A JSON file for swift-configuration by the project's own parser.
///
/// The package's own JSON snapshot cannot tell which keys a file has, takes 0 for false, and needs the whole of
/// Foundation. This one keeps the members, so that a misspelt key is an error instead of a silent default.
struct StrictJSONSnapshot: FileConfigSnapshot {
    struct ParsingOptions: FileParsingOptions {
        static var `default`: Self { Self() }
    }

    struct Mismatch: Error {
        var key: String
        var type: ConfigType
    }

    /// Not a JSON object; the text tells where.
    struct Malformed: Error, CustomStringConvertible {
        var description: String
    }

    /// Configuration files larger than this are a mistake.
    static let maximumBytes = 1 << 20

    let providerName: String
    /// The members of the top-level object in their order.
    let members: [JSONMember]

    var description: String { "\(providerName)[\(members.count) values]" }
    var debugDescription: String { "\(providerName)\(JSONValue.object(members).text)" }

    init(data: RawSpan, providerName: String, parsingOptions: ParsingOptions) throws {
        self.providerName = providerName
        let bytes = unsafe data.withUnsafeBytes { unsafe [UInt8]($0) }
        do throws(ControlProtocolError) {
            guard case .object(let members) = try JSONValue(parsing: bytes, limit: Self.maximumBytes) else {
                throw .shape(key: "the file", expected: "a JSON object")
            }
            self.members = members
        } catch .syntax(let what, let offset) {
            let line = bytes.prefix(offset).reduce(1) { $1 == 0x0A ? $0 + 1 : $0 }
            throw Malformed(description: "line \(line): not valid JSON: \(what)")
        } catch {
            throw Malformed(description: "must be a JSON object, as in {\"log_level\": \"info\"}")
        }
    }

    func member(_ key: String) -> JSONValue? { members.first { $0.name == key }?.value }

    func value(forKey key: AbsoluteConfigKey, type: ConfigType) throws -> LookupResult {
        let name = key.components.joined(separator: ".")
        guard let value = member(name) else { return LookupResult(encodedKey: name, value: nil) }
        guard let content = Self.content(of: value, as: type) else { throw Mismatch(key: name, type: type) }
        return LookupResult(encodedKey: name, value: ConfigValue(content, isSecret: false))
    }

    /// The kinds of values the daemon's settings have; nothing is converted.
    private static func content(of value: JSONValue, as type: ConfigType) -> ConfigContent? {
        switch (type, value) {
        case (.string, .string(let text)): .string(text)
        case (.int, .integer(let number)): .int(Int(number))
        case (.bool, .bool(let flag)): .bool(flag)
        case (.stringArray, .array(let values)): strings(values).map { .stringArray($0) }
        case (.intArray, .array(let values)): integers(values).map { .intArray($0) }
        default: nil
        }
    }

    private static func strings(_ values: [JSONValue]) -> [String]? {
        let strings = values.compactMap { if case .string(let text) = $0 { text } else { nil } }
        return strings.count == values.count ? strings : nil
    }

    private static func integers(_ values: [JSONValue]) -> [Int]? {
        let integers = values.compactMap { if case .integer(let number) = $0 { Int(exactly: number) } else { nil } }
        return integers.count == values.count ? integers : nil
    }
}
