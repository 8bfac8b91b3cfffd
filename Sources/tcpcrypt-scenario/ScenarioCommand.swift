import ArgumentParser
import Foundation
import ScenarioRunner

/// Hosts in network namespaces, what they do, and what has to be seen.
@main
struct ScenarioCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "tcpcrypt-scenario",
        abstract: "Runs scenarios: hosts in network namespaces, what they do, and what has to be seen.",
        discussion: "See tcpcrypt-scenario(8), and tcpcrypt-scenario(5) for how to write one.",
        subcommands: [RunCommand.self, ListCommand.self, DrawCommand.self, CleanCommand.self])

    static func main() async {
        do {
            var command = try parseAsRoot()
            if var asynchronous = command as? any AsyncParsableCommand {
                try await asynchronous.run()
            } else {
                try command.run()
            }
        } catch let problem as ScenarioProblem {
            complain("\(problem)")
            exit(withError: ExitCode(ExitStatus.misuse))
        } catch  where exitCode(for: error) == .validationFailure {
            complain(fullMessage(for: error))
            exit(withError: ExitCode(ExitStatus.misuse))
        } catch {
            exit(withError: error)
        }
    }
}

/// What the shell is told.
enum ExitStatus {
    static let failed: Int32 = 1
    static let misuse: Int32 = 2
    static let interrupted: Int32 = 130
}

/// Where scenarios are.
struct CatalogOptions: ParsableArguments {
    @Option(help: ArgumentHelp("The folder of scenarios, by default that of this tree.", valueName: "folder"))
    var scenarios: String?

    func catalog() throws(ScenarioProblem) -> Catalog { try Catalog(folder: scenarios) }
}

func complain(_ text: String) {
    FileHandle.standardError.write(Data("\(text.hasSuffix("\n") ? String(text.dropLast()) : text)\n".utf8))
}

func say(_ text: String) { FileHandle.standardOutput.write(Data(text.utf8)) }
