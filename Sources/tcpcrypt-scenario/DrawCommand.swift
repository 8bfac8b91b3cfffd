import ArgumentParser
import ScenarioRunner

struct DrawCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "draw", abstract: "Draws the network of a scenario, or one of Scenarios/topologies.")

    @OptionGroup var place: CatalogOptions
    @Argument(help: "A scenario as `list` shows it.") var name: String
    @Flag(help: "It is the name of a topology.") var topology = false

    func run() throws {
        let catalog = try place.catalog()
        if topology {
            for line in Drawing(try catalog.topology(name)).lines { say("\(line)\n") }
            return
        }
        let entry = try catalog.named(name)
        switch entry.kind {
        case .declared(let scenario):
            say("\(scenario.title)\n\n")
            for line in Drawing(scenario.topology).lines { say("\(line)\n") }
        case .script: say(try catalog.headOfScript(entry))
        case .broken(let problem): throw problem
        }
    }
}
