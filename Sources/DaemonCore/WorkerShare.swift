import FlowEngine
import PacketWire

/// Which connections are one worker's.
struct WorkerShare: Sendable {
    let worker: Int
    let workers: Int

    func contains(_ tuple: FlowTuple) -> Bool {
        WorkerSteering.worker(of: tuple.local.port, tuple.remote.port, among: workers) == worker
    }

    /// False for a packet of a connection that is another's: the rules do not pass over every header that may precede TCP. What is no packet
    /// of a connection is anybody's.
    func contains(_ packet: Span<UInt8>) -> Bool {
        guard workers > 1, let owner = WorkerSteering.worker(of: packet, among: workers) else { return true }
        return owner == worker
    }
}
