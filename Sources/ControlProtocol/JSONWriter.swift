extension JSONValue {
    /// The value as compact JSON text: no spaces, members in their own order, one line.
    public var text: String {
        var text = ""
        write(to: &text)
        return text
    }

    private func write(to text: inout String) {
        switch self {
        case .null: text += "null"
        case .bool(let value): text += value ? "true" : "false"
        case .integer(let value): text += String(value)
        case .number(let value): text += value.isFinite ? "\(value)" : "null"
        case .string(let value): Self.writeQuoted(value, to: &text)
        case .array(let values): Self.writeArray(values, to: &text)
        case .object(let members): Self.writeObject(members, to: &text)
        }
    }

    private static func writeArray(_ values: [JSONValue], to text: inout String) {
        text += "["
        var first = true
        for value in values {
            if !first { text += "," }
            first = false
            value.write(to: &text)
        }
        text += "]"
    }

    private static func writeObject(_ members: [JSONMember], to text: inout String) {
        text += "{"
        var first = true
        for member in members {
            if !first { text += "," }
            first = false
            writeQuoted(member.name, to: &text)
            text += ":"
            member.value.write(to: &text)
        }
        text += "}"
    }

    /// Escapes what RFC 8259 section 7 demands, and DEL and the C1 controls for the sake of terminals.
    private static func writeQuoted(_ value: String, to text: inout String) {
        text += "\""
        for scalar in value.unicodeScalars {
            switch scalar.value {
            case 0x22: text += "\\\""
            case 0x5C: text += "\\\\"
            case 0x0A: text += "\\n"
            case 0x0D: text += "\\r"
            case 0x09: text += "\\t"
            case 0..<0x20, 0x7F..<0xA0: text += escape(scalar.value)
            default: text.unicodeScalars.append(scalar)
            }
        }
        text += "\""
    }

    private static func escape(_ code: UInt32) -> String {
        let digits = String(code, radix: 16)
        return "\\u" + String(repeating: "0", count: max(0, 4 - digits.count)) + digits
    }
}
