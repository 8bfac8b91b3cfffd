public import FlowEngine
@_exported public import PathDevices

/// A discrete event simulation with its own time. Everything in it happens in one thread and one order.
public final class VirtualNetwork: EventQueue {
    public var now: Instant { Instant(nanoseconds: time) }
    public var hosts: [SimulatedHost] = []

    public init(trace: Trace) { super.init(time: 1_000_000_000, trace: trace) }

    /// Runs until `isDone` or `limit`; returns whether it was done.
    public func run(until limit: Instant, isDone: () -> Bool) -> Bool {
        for host in hosts { host.settle() }
        var steps = 0
        while !isDone() {
            steps += 1
            let wake = hosts.compactMap(\.nextDeadline).min()?.nanoseconds
            guard let next = [nextTime, wake].compactMap(\.self).min(), next <= limit.nanoseconds else {
                skip(to: limit.nanoseconds)
                return isDone()
            }
            guard steps < 4_000_000 else { return false }
            skip(to: next)
            step()
            for host in hosts { host.handleDeadlines() }
        }
        return true
    }
}
