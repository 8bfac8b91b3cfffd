/// A scenario as its file declares it.
public struct Scenario: Sendable {
    public var title = ""
    public var shows = ""
    public var terms = Terms()
    public init(yaml: String, file: String, name: String, preset: (String) -> String?) throws(ScenarioProblem) { throw ScenarioProblem(file: file, "not yet") }
}
struct DeclaredExecution {
    init(_ s: Scenario, prefix: String, log: FilePath, options: RunOptions, catalog: Catalog) {}
    func run() async -> Ending { .exited(1) }
}
import SystemPackage
