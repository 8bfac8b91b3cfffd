/// A scenario as its file declares it.
public struct Scenario: Sendable {
    /// A file that is there before the first step.
    struct File: Equatable, Sendable {
        var path: String
        /// Text with `${...}` in it, or, where `bytes` is set, what is repeated to make so many.
        var text: String
        var bytes: Int?
    }
    /// What tcpdump writes at one device.
    struct Capture: Equatable, Sendable {
        var name: String
        var node: String
        var device: String
        /// Bytes of each packet, 0 for all.
        var snapLength: Int
        var filter: String
    }

    public let name: String
    public let file: String
    public let title: String
    /// What a reader should know beside the title.
    public let shows: String
    public let terms: Terms
    public let topology: Topology
    /// By host, with what their configuration files say.
    let daemons: [(host: String, settings: [String: Value])]
    let files: [File]
    let captures: [Capture]
    let steps: [Step]
    /// After the steps, when captures have ended.
    let checks: [Step]
}

/// One thing that is done, or asserted.
struct Step: Sendable {
    enum Action: Sendable {
        case start([String], settings: [String: Value])
        case stop([String])
        case kill([String])
        case run(Command)
        case spawn(name: String, Command, until: Readiness?)
        case await(name: String, status: Int32, limit: Double)
        case end(name: String, signal: EndSignal)
        case device(Topology.End, isUp: Bool)
        case shape(link: String, rate: String?, rateToLeft: String?, wire: String?)
        case address(Topology.End, add: [Address], remove: [Address], removesAll: Bool)
        case check(Expression, within: Double)
        case secret(marker: String, captures: [String])
        case save(name: String, Expression)
        case sleep(Double)
        case transfer(Transfer)
        case draw
    }
    enum EndSignal: String, CaseIterable, Sendable {
        case hangUp = "HUP"
        case interrupt = "INT"
        case quit = "QUIT"
        case kill = "KILL"
        case terminate = "TERM"
    }
    /// A program on a host.
    struct Command: Sendable {
        var host: String
        /// With `${...}` in them; one that is no list is for bash.
        var words: [String]
        var isShell: Bool
        var status: Int32 = 0
        /// A pattern that the output has to match somewhere.
        var output: String?
        /// The name under which the output is known later.
        var saved: String?
        var limit = 30.0
    }
    /// When something that was spawned is ready.
    enum Readiness: Sendable {
        case listening(port: Int)
        case said(String)
    }
    /// The same bytes on both ends' sides, by Scenarios/tools/bulk.py.
    struct Transfer: Sendable {
        enum Direction: String, CaseIterable, Sendable { case both, download, upload }
        var from: String
        var to: String
        var address: String?
        var port: Int
        var megabytes: Int
        var isMultipath: Bool
        var version: Int
        var direction: Direction
        var limit: Double
        /// What is done while it goes on.
        var during: [Step]
    }

    var action: Action
    /// What is asserted; nil where only a failure is told.
    var title: String?
    /// It says nothing without daemons.
    var isAboutEncryption = false
    var line = 0
}
