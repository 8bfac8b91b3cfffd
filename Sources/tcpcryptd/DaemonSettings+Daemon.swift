import DaemonCore
import OpenSSLProvider

extension DaemonSettings {
    /// What the settings mean for the daemon as a whole.
    var daemonConfiguration: DaemonConfiguration {
        var configuration = DaemonConfiguration()
        configuration.engine = engineConfiguration
        configuration.isSeeded = { SystemRandom.isSeeded }
        configuration.workers = workers
        configuration.machineClock = machineClock
        configuration.mainQueue = mainQueue
        configuration.synQueue = synQueue
        configuration.strangerQueue = strangerQueue
        let bits = markBits
        configuration.marks = MarkBits(passed: bits.passed, plain: bits.plain, encrypted: bits.encrypted)
        return configuration
    }
}
