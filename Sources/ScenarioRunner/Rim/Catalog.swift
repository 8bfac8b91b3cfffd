import Foundation
import SystemPackage

/// One scenario of the folder.
public struct CatalogEntry: Sendable {
    public enum Kind: Sendable {
        /// A program `run` that says what it finds, line by line.
        case script
        /// A file `scenario.yaml`.
        case declared(Scenario)
        /// One that cannot be read.
        case broken(ScenarioProblem)
    }
    public let name: String
    public let title: String
    public let text: String
    public let terms: Terms
    public let kind: Kind
    public let file: FilePath
}

/// The folder `Scenarios`, and where the programs are that scenarios need.
public struct Catalog: Sendable {
    public let folder: FilePath
    /// tcpcryptd, tcpcryptctl and tcpcrypt-wire are there.
    public let binaries: FilePath
    public let entries: [CatalogEntry]

    /// Where what scenarios write goes unless another folder is named.
    public var logs: String { root.appending(".build-logs/scenarios").string }
    var root: FilePath { folder.removingLastComponent() }
    var tools: FilePath { folder.appending("tools") }

    /// - Parameter folder: the scenarios; by default those of the tree in which this program or the working directory is.
    /// - Throws: ``ScenarioProblem`` where there are none.
    public init(folder: String? = nil) throws(ScenarioProblem) {
        guard let folder = folder.map({ Catalog.absolute($0) }) ?? Catalog.find() else {
            throw ScenarioProblem(file: "Scenarios", "no such folder above here; --scenarios names one")
        }
        self.folder = folder
        let named = ProcessInfo.processInfo.environment["TCPCRYPT_BIN"].map { Catalog.absolute($0) }
        binaries = named ?? folder.removingLastComponent().appending(".build/release")
        let names = (try? FileManager.default.contentsOfDirectory(atPath: folder.string)) ?? []
        entries = names.sorted().compactMap { Catalog.entry($0, in: folder) }
        guard !entries.isEmpty else { throw ScenarioProblem(file: folder.string, "there are no scenarios") }
    }

    /// - Throws: ``ScenarioProblem`` for a name that no scenario has.
    public func named(_ name: String) throws(ScenarioProblem) -> CatalogEntry {
        guard let entry = entries.first(where: { $0.name == name }) else {
            throw ScenarioProblem(
                file: folder.string, "no scenario is called \(name)" + hint(name, among: entries.map(\.name)))
        }
        return entry
    }

    /// One of the folder `topologies`.
    ///
    /// - Throws: ``ScenarioProblem`` where there is none of that name, or it cannot be read.
    public func topology(_ name: String) throws(ScenarioProblem) -> Topology {
        let place = try Place.root(of: "topology: \(name)", file: "--topology")
        return try TopologyParser(preset: preset).parse(try place.fields().all[0].place)
    }

    private var preset: (String) -> String? { { Catalog.text(folder.appending("topologies/\($0).yaml")) } }

    /// The comment that a bash scenario begins with, where its authors draw.
    public func headOfScript(_ entry: CatalogEntry) throws(ScenarioProblem) -> String {
        guard let text = Catalog.text(entry.file) else {
            throw ScenarioProblem(file: entry.file.string, "it cannot be read")
        }
        let lines = text.split(separator: "\n", omittingEmptySubsequences: false).prefix { $0.hasPrefix("#") }
        let comment = lines.filter { !$0.hasPrefix("#!") && !$0.hasPrefix("# scenario:") }
        return comment.map { $0.dropFirst($0.hasPrefix("# ") ? 2 : 1) + "\n" }.joined()
    }

    private static func entry(_ name: String, in folder: FilePath) -> CatalogEntry? {
        let script = folder.appending("\(name)/run")
        let file = folder.appending("\(name)/scenario.yaml")
        do {
            if let text = text(file) {
                let scenario = try Scenario(yaml: text, file: short(file), name: name) { preset in
                    Catalog.text(folder.appending("topologies/\(preset).yaml"))
                }
                return CatalogEntry(
                    name: name, title: scenario.title, text: scenario.shows, terms: scenario.terms,
                    kind: .declared(scenario),
                    file: file)
            }
            guard FileManager.default.isExecutableFile(atPath: script.string), let text = text(script) else {
                return nil
            }
            let header = try ScriptHeader(text, file: short(script))
            return CatalogEntry(
                name: name, title: header.title, text: header.text, terms: header.terms, kind: .script, file: script)
        } catch {
            return CatalogEntry(
                name: name, title: "cannot be read: \(error)", text: "", terms: Terms(), kind: .broken(error),
                file: file)
        }
    }

    /// `Scenarios/NAME/FILE`, as one would name it.
    private static func short(_ path: FilePath) -> String {
        path.components.suffix(3).map(\.string).joined(separator: "/")
    }

    static func text(_ path: FilePath) -> String? {
        FileManager.default.contents(atPath: path.string).map { String(decoding: $0, as: UTF8.self) }
    }

    private static func absolute(_ path: String) -> FilePath {
        FilePath(FileManager.default.currentDirectoryPath).pushing(FilePath(path)).lexicallyNormalized()
    }

    private static func find() -> FilePath? {
        let own = (try? FileManager.default.destinationOfSymbolicLink(atPath: "/proc/self/exe")) ?? "/"
        for start in [FilePath(FileManager.default.currentDirectoryPath), FilePath(own)] {
            var folder = start
            while !folder.components.isEmpty {
                let scenarios = folder.appending("Scenarios")
                if FileManager.default.fileExists(atPath: scenarios.appending("lib.sh").string) { return scenarios }
                folder.removeLastComponent()
            }
        }
        return nil
    }
}
