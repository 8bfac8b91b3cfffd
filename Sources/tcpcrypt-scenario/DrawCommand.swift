import ArgumentParser
import ScenarioRunner

struct DrawCommand: ParsableCommand {
    static let configuration = CommandConfiguration(commandName: "draw", abstract: "Draws the network of a scenario.")

    @OptionGroup var place: CatalogOptions
    @Argument(help: "As `list` shows it.") var name: String

    func run() throws {
        let entry = try place.catalog().named(name)
        say("\(entry.title)\n")
    }
}
