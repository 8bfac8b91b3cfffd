import Firewall
import FlowEngine
public import Logging

/// The rules of the target `Firewall`, installed for a daemon.
public struct FirewallSteering: Steering {
    private let firewall: Firewall
    private let logger: Logger

    /// - Parameters:
    ///   - skippedInterfaces: left alone besides the loopback.
    ///   - stateFile: keeps a sysctl's previous value while the rules are there.
    public init(daemon: DaemonConfiguration, skippedInterfaces: [String], stateFile: String, logger: Logger) {
        var rules = FirewallConfiguration(
            excludedPorts: daemon.engine.excludedPorts.sorted(), skippedInterfaces: ["lo"] + skippedInterfaces)
        rules.policies = daemon.engine.policies.map(FirewallPolicy.init)
        rules.workers = daemon.workers
        rules.mainQueue = daemon.mainQueue
        rules.synQueue = daemon.synQueue
        rules.strangerQueue = daemon.strangerQueue
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

extension FirewallPolicy {
    fileprivate init(_ rule: PolicyRule) {
        let treatment: Treatment =
            switch rule.policy.encryption {
            case .require: .required
            case .prefer: .preferred
            case .off: .leftAlone
            }
        self.init(prefixes: rule.prefixes, ports: rule.ports, treatment: treatment)
    }
}
