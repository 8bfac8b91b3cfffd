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
        configuration.sessionLifetime = sessionLifetime
        configuration.maximumSessions = maximumSessions
        configuration.resumptionNonce = resumptionNonce
        configuration.maximumFlows = maximumFlows
        configuration.mostBytesUnderKey = UInt64(clamping: rekeyBytes)
        configuration.oldestKeyMilliseconds = Int64(clamping: rekeySeconds) * 1_000
        return configuration
    }
}
