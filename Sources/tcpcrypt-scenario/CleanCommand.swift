import ArgumentParser
import ScenarioRunner

struct CleanCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "clean", abstract: "Removes what runs left that were killed, or were told to keep it.",
        discussion:
            "Namespaces, processes and files carry the id of the process that made them; what belongs to one that lives stays."
    )

    @Argument(help: "Only what these processes made, by their ids.") var processes: [Int32] = []
    @Flag(name: [.customLong("dry-run"), .customShort("n")], help: "Only say what would be removed.") var isDry = false

    func run() async throws {
        let leftovers = Leftovers.ofTheDead(processes)
        let names =
            leftovers.namespaces.map { "namespace \($0)" } + leftovers.folders
            + leftovers.processes.map { "process \($0)" }
        for name in names { say("\(isDry ? "would remove" : "removing") \(name)\n") }
        if !isDry { await leftovers.remove() }
    }
}
