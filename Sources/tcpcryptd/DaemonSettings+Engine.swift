import FlowEngine

extension DaemonSettings {
    /// What the settings mean for the engine.
    var engineConfiguration: EngineConfiguration {
        var configuration = EngineConfiguration()
        configuration.teps = teps
        configuration.aeads = aeads
        configuration.excludedPorts = Set(excludedPorts)
        configuration.policies = policies
        configuration.resumption = resumption
        configuration.maximumFlows = maximumFlows
        return configuration
    }
}
