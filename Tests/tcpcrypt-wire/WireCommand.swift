import ArgumentParser
import PathDevices

/// A wire that behaves as badly as one likes.
@main
struct WireCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "tcpcrypt-wire",
        abstract: "Joins two network devices and does to their packets what networks do.",
        discussion: """
            A SPEC is a list of devices that packets of one direction pass in order, separated by spaces or commas:

            \(DeviceKind.help)

            Lines on standard input change it at run time: `to-right SPEC`, `to-left SPEC`, `both SPEC`, answered by \
            `set` or `error: ...`; `counters` prints them as JSON. At the end of the input, on SIGTERM and on SIGINT \
            the counters are printed for the last time. ARP and neighbour discovery pass untouched.
            """)

    @Argument(help: "The device on the left.") var left: String
    @Argument(help: "The device on the right.") var right: String
    @Option(help: "Makes chance repeatable.") var seed: UInt64 = 1
    @Option(help: ArgumentHelp("What packets from the left pass.", valueName: "spec")) var toRight: String?
    @Option(help: ArgumentHelp("What packets from the right pass.", valueName: "spec")) var toLeft: String?
    @Option(help: ArgumentHelp("Both alike.", valueName: "spec")) var both: String?

    private func specification(_ text: String?) throws -> PathSpecification {
        do {
            return try PathSpecification(parsing: text ?? both ?? "")
        } catch {
            throw ValidationError("\(error)")
        }
    }

    func run() throws {
        let specifications = (try specification(toRight), try specification(toLeft))
        let wire = try Wire(left: left, right: right, seed: seed)
        wire.set(.toRight, to: specifications.0)
        wire.set(.toLeft, to: specifications.1)
        wire.run()
    }
}
