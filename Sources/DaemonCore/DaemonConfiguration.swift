public import FlowEngine
import NetfilterQueue

/// What the daemon needs besides the engine's own settings.
public struct DaemonConfiguration: Sendable {
    public var engine = EngineConfiguration()
    /// The queue of the connections that matter: encrypted ones, and whatever the local kernel sends.
    public var mainQueue: UInt16 = 31_850
    /// The queue of what else arrives, but for SYNs that are no MP_JOIN. Anybody can fill it.
    public var strangerQueue: UInt16 = 31_852
    /// The queue of SYNs, which accepts them unseen when it is full.
    public var synQueue: UInt16 = 31_851
    public var marks = MarkBits()
    /// The group of the sockets that inject packets; the rules let it pass.
    public var injectGroup: UInt32 = 31_856
    /// Holds a directory per network namespace with the crash journal and the lock.
    public var runDirectory = "/run/tcpcryptd"
    /// How long the queues are served while resets leave, in milliseconds.
    public var graceMilliseconds = 250

    public init() {}

    /// The directory of the daemon of this network namespace; it exists while the daemon runs.
    public func stateDirectory() throws(DaemonError) -> String {
        do { return "\(runDirectory)/net-\(try NetworkNamespace.current())" } catch { throw .system(error) }
    }
}

/// The firewall rules that lead packets into the queues.
public protocol Steering: Sendable {
    func install() throws
    func remove() throws
}
