public import Firewall
public import Logging

/// The rules of the target `Firewall`, installed for a daemon.
public struct FirewallSteering: Steering {
    private let firewall: Firewall
    private let logger: Logger

    /// - Parameters:
    ///   - daemon: its queues, marks and group replace those in `rules`.
    ///   - stateFile: keeps a sysctl's previous value while the rules are there.
    public init(daemon: DaemonConfiguration, rules: FirewallConfiguration, stateFile: String, logger: Logger) {
        var rules = rules
        rules.mainQueue = daemon.mainQueue
        rules.synQueue = daemon.synQueue
        rules.passedBit = daemon.marks.passed
        rules.plainBit = daemon.marks.plain
        rules.encryptedBit = daemon.marks.encrypted
        rules.injectorGID = daemon.injectGroup
        firewall = Firewall(configuration: rules, sysctlFile: stateFile)
        self.logger = logger
    }

    public func install() throws {
        for note in try firewall.install().notes { logger.notice("\(note)") }
    }

    public func remove() throws {
        let report = firewall.remove()
        for note in report.notes { logger.notice("\(note)") }
        for problem in report.problems.dropFirst() { logger.error("\(problem)") }
        if let problem = report.problems.first { throw problem }
    }
}
