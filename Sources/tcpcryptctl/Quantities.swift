/// Numbers for people.
enum Quantities {
    /// `999 B`, `1.5 KiB`, `200.0 MiB`.
    static func bytes(_ count: UInt64) -> String {
        guard count >= 1024 else { return "\(count) B" }
        var value = Double(count) / 1024
        for unit in ["KiB", "MiB", "GiB", "TiB", "PiB"] {
            if value < 1024 { return "\(oneDecimal(value)) \(unit)" }
            value /= 1024
        }
        return "\(oneDecimal(value)) EiB"
    }

    private static func oneDecimal(_ value: Double) -> String {
        let tenths = Int((value * 10).rounded(.down))
        return "\(tenths / 10).\(tenths % 10)"
    }

    /// The two largest units: `1 d 2 h`, `3 min 5 s`, `0 s`.
    static func duration(milliseconds: Int) -> String {
        let seconds = max(0, milliseconds / 1000)
        let parts = [
            (seconds / 86_400, "d"), (seconds / 3600 % 24, "h"), (seconds / 60 % 60, "min"), (seconds % 60, "s"),
        ]
        guard let first = parts.firstIndex(where: { $0.0 > 0 }) else { return "0 s" }
        return parts[first...].prefix(2).map { "\($0.0) \($0.1)" }.joined(separator: " ")
    }

    /// The first sixteen digits of a long name, and a sign that there are more.
    static func shortened(_ text: String?) -> String? {
        guard let text, text.count > 18 else { return text }
        return text.prefix(16) + "…"
    }
}
