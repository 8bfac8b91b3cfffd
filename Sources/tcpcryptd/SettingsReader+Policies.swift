import ControlProtocol
import FlowEngine
import PacketWire
import Tcpcrypt

/// The array of policies, of which every complaint names the place, as in `policies[1].ports[0]`.
extension SettingsReader {
    private static let mostPolicies = 64
    private static let mostEntries = 64
    private static let keys = [
        "prefixes", "ports", "encryption", "joins", "application_aware", "passive_role", "resumption",
    ]

    func policies(_ key: String) throws(SettingsError) -> [PolicyRule] {
        guard let value = member(key) else { return [] }
        guard case .array(let elements) = value, elements.count <= Self.mostPolicies else {
            throw bad(key, value, "an array of at most \(Self.mostPolicies) objects")
        }
        var rules: [PolicyRule] = []
        for (index, element) in elements.enumerated() { rules.append(try policy("\(key)[\(index)]", element)) }
        return rules
    }

    private func policy(_ place: String, _ value: JSONValue) throws(SettingsError) -> PolicyRule {
        guard case .object(let members) = value else { throw bad(place, value, "an object") }
        var rule = PolicyRule()
        for member in members {
            let inner = "\(place).\(member.name)"
            switch member.name {
            case "prefixes": rule.prefixes = try list(inner, member.value, Self.prefixText, Self.prefix)
            case "ports": rule.ports = try list(inner, member.value, Self.portText, Self.ports)
            case "encryption": rule.policy.encryption = try choice(inner, member.value)
            case "joins": rule.policy.joins = try choice(inner, member.value)
            case "application_aware": rule.policy.applicationAware = try choice(inner, member.value)
            case "passive_role": rule.policy.takesPassiveRole = try flag(inner, member.value)
            case "resumption": rule.policy.resumes = try flag(inner, member.value)
            default: throw .unknownKey(path: path, key: inner, known: Self.keys)
            }
        }
        return rule
    }

    private func flag(_ place: String, _ value: JSONValue) throws(SettingsError) -> Bool {
        guard case .bool(let flag) = value else { throw bad(place, value, "true or false") }
        return flag
    }

    /// None would match nothing, where an absent key matches everything: nobody means that.
    private func list<Element>(
        _ place: String, _ value: JSONValue, _ text: String, _ read: (JSONValue) -> Element?
    ) throws(SettingsError) -> [Element] {
        guard case .array(let values) = value, (1...Self.mostEntries).contains(values.count) else {
            throw bad(place, value, "an array of 1 to \(Self.mostEntries) elements, each \(text)")
        }
        var elements: [Element] = []
        for (index, value) in values.enumerated() {
            guard let element = read(value) else { throw bad("\(place)[\(index)]", value, text) }
            elements.append(element)
        }
        return elements
    }

    private func choice<Choice: RawRepresentable & CaseIterable>(
        _ place: String, _ value: JSONValue
    ) throws(SettingsError) -> Choice where Choice.RawValue == String {
        guard case .string(let name) = value, let choice = Choice(rawValue: name) else {
            let names = Choice.allCases.map { "\"\($0.rawValue)\"" }
            throw bad(place, value, "one of \(names.joined(separator: ", "))")
        }
        return choice
    }

    private func bad(_ place: String, _ value: JSONValue, _ allowed: String) -> SettingsError {
        .badValue(path: path, key: place, value: value.text, allowed: allowed)
    }

    private static let prefixText =
        "an address such as \"192.0.2.1\", or a prefix such as \"192.0.2.0/24\" or \"2001:db8::/32\" with nothing behind its length"

    private static func prefix(_ value: JSONValue) -> IPPrefix? {
        guard case .string(let text) = value, let prefix = IPPrefix(text) else { return nil }
        // A bit behind the length is somebody's mistake.
        return IPAddress(text.prefix { $0 != "/" }) == prefix.address ? prefix : nil
    }

    private static let portText = "a port from 1 to 65535, or a range such as \"6000-6100\""

    private static func ports(_ value: JSONValue) -> ClosedRange<UInt16>? {
        switch value {
        case .integer(let number):
            guard let port = UInt16(exactly: number), port > 0 else { return nil }
            return port...port
        case .string(let text):
            let ends = text.split(separator: "-", omittingEmptySubsequences: false)
            guard ends.count == 2, let first = port(ends[0]), let last = port(ends[1]), first <= last else {
                return nil
            }
            return first...last
        default: return nil
        }
    }

    private static func port(_ text: Substring) -> UInt16? {
        guard text.utf8.allSatisfy({ (0x30...0x39).contains($0) }), text.utf8.first != 0x30 else { return nil }
        return UInt16(text)
    }
}
