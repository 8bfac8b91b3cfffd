import Firewall
public import FlowEngine
import NetfilterQueue

/// What the daemon needs besides the engine's own settings.
public struct DaemonConfiguration: Sendable {
    /// For the host as a whole; ``engineOfWorker`` is one worker's share.
    public var engine = EngineConfiguration()
    /// How many threads share the packets, each with an engine of its own; 1 to 16.
    public var workers = 1
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
    /// The hypervisor's clock device, where there is one.
    public var machineClock = "/dev/vmclock0"
    /// How long the queues are served while resets leave, in milliseconds.
    public var graceMilliseconds = 250

    /// Whether there is randomness: asked until it says so, and before that no connection is negotiated.
    public var isSeeded: @Sendable () -> Bool = { true }

    public init() {}

    /// Threads where nothing else is said: those that the system lets run at once, but not all of a large machine.
    public static var usualWorkers: Int { min(4, UsableProcessors.count) }

    public static let mostWorkers = FirewallConfiguration.mostWorkers

    /// Limits of the host are shared out evenly.
    public var engineOfWorker: EngineConfiguration { engine.share(of: workers) }

    /// The queues of one worker. Those of worker 0 are the configured ones.
    func queues(ofWorker worker: Int) -> (main: UInt16, strangers: UInt16, syn: UInt16) {
        let number = { FirewallConfiguration.queue($0, ofWorker: worker) }
        return (number(mainQueue), number(strangerQueue), number(synQueue))
    }

    /// Whether two queues, of whatever workers, have the same number.
    public var queuesClash: Bool {
        let all = (0..<workers).map { queues(ofWorker: $0) }.flatMap { [$0.main, $0.strangers, $0.syn] }
        return Set(all).count < all.count
    }

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

extension EngineConfiguration {
    /// What one of several workers may do and hold, so that all together do what this says, or hardly more.
    func share(of workers: Int) -> EngineConfiguration {
        guard workers > 1 else { return self }
        func part(_ whole: Int, atLeast minimum: Int) -> Int {
            max((whole + workers - 1) / workers, min(whole, minimum))
        }
        var share = self
        share.maximumFlows = part(maximumFlows, atLeast: 1)
        share.maximumUnprovenFlows = part(maximumUnprovenFlows, atLeast: 64)
        // Each has queues of its own, so `maximumHeldPackets` is for each. What they hold in all counts in bytes: a few windows of a
        // fast connection at least. Key exchanges cost the thread that does them, so they are counted for each too.
        share.maximumHeldBytes = part(maximumHeldBytes, atLeast: 16 << 20)
        return share
    }
}
