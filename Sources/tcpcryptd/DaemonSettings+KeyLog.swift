import DaemonCore
import Logging

extension DaemonSettings {
    /// The key log where the settings ask for one, which is said loudly.
    func openKeyLog(_ logger: Logger) throws(KeyLogError) -> KeyLogFile? {
        guard let keyLog else { return nil }
        let file = try KeyLogFile(path: keyLog, logger: logger)
        logger.warning(
            "KEY LOG: the keys of every connection are written to \(keyLog), and whoever reads that file reads the traffic; remove key_log from the settings when you are done"
        )
        return file
    }
}
