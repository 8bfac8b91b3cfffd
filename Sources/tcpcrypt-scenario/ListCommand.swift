import ArgumentParser
import Foundation
import ScenarioRunner

struct ListCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "list", abstract: "Tells which scenarios there are, and what each shows.")

    @OptionGroup var place: CatalogOptions
    @Flag(help: "As a JSON array of objects.") var json = false

    private struct Line: Encodable {
        let name: String
        let title: String
        let text: String
        let kind: String
        let alone: Bool
        let limit: Int
    }

    func run() throws {
        let entries = try place.catalog().entries
        if json {
            let lines = entries.map {
                Line(
                    name: $0.name, title: $0.title, text: $0.text, kind: $0.kind.word, alone: $0.terms.isAlone,
                    limit: $0.terms.limit)
            }
            let encoder = JSONEncoder()
            encoder.outputFormatting = [.prettyPrinted, .sortedKeys, .withoutEscapingSlashes]
            say(String(decoding: try encoder.encode(lines), as: UTF8.self) + "\n")
            return
        }
        let width = entries.map(\.name.count).max() ?? 0
        for entry in entries {
            say(entry.name.padding(toLength: width + 2, withPad: " ", startingAt: 0) + entry.title + "\n")
        }
    }
}

extension CatalogEntry.Kind {
    var word: String {
        switch self {
        case .script: "script"
        case .declared: "declared"
        case .broken: "broken"
        }
    }
}
