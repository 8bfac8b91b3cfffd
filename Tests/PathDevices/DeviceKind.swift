/// What a word of a specification may be: its name, how it is written, what the device does.
public struct DeviceKind: Sendable {
    public let name: String
    /// Such as `delay=TIME`.
    public let usage: String
    public let summary: String
    let read: @Sendable (ValueReader) throws(PathSpecificationError) -> DeviceSpecification

    init(
        _ usage: String, _ summary: String,
        _ read: @escaping @Sendable (ValueReader) throws(PathSpecificationError) -> DeviceSpecification
    ) {
        name = String(usage.prefix { $0 != "=" && $0 != "[" })
        self.usage = usage
        self.summary = summary
        self.read = read
    }

    /// Every device there is.
    public static let all = impairments + middleboxes

    /// The devices and the units of their parameters, a line each.
    public static var help: String {
        let lines =
            (all.map { ($0.usage, $0.summary) } + [("queue=SIZE", "of the rate before it: more is dropped (0.1 s)")])
            .map { usage, summary in
                "  " + usage + String(repeating: " ", count: max(1, 28 - usage.count)) + summary
            }
        return lines.joined(separator: "\n") + """
            \n
            TIME: 25ms, 200us, 1.5s. CHANCE: 1%, 0.1% or 0.01. RATE: 100mbit, 64kbit, 1gbit (per second).
            SIZE: 250kB, 2MB, 3000B (powers of ten).
            """
    }
}
