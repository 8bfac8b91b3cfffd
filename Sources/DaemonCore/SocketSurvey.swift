import FlowEngine
import NetfilterQueue

/// The TCP sockets of the namespace at one moment.
struct SocketSurvey: Sendable {
    let sockets: [TCPSocket]

    var tuples: Set<FlowTuple> { Set(sockets.map { FlowTuple(local: $0.local, remote: $0.remote) }) }

    /// Connections that the local kernel has answered, and whose opener it has not heard since.
    var halfOpen: [FlowTuple] {
        sockets.filter { $0.state == Self.synReceived }.map { FlowTuple(local: $0.local, remote: $0.remote) }
    }

    /// TCP_ESTABLISHED and TCP_SYN_RECV.
    private static let established: UInt8 = 1
    private static let synReceived: UInt8 = 3

    /// The tokens of MPTCP connections that were never encrypted: those with an established subflow, but without a condemned one. An encrypted
    /// connection may have lost all that are known of it, and now try to join again: such an attempt is no witness.
    func plainTokens(except condemned: [CondemnedFlow]) -> [(local: UInt32, remote: UInt32)] {
        let tuples = Set(condemned.map(\.tuple))
        let subflows = sockets.filter { $0.tokens != nil }
        let bad = subflows.filter { tuples.contains(FlowTuple(local: $0.local, remote: $0.remote)) }
        let badTokens = Set(bad.compactMap { $0.tokens?.local })
        let witnesses = subflows.filter { $0.state == Self.established }
        let goodTokens = Set(witnesses.compactMap { $0.tokens?.local }).subtracting(badTokens)
        var found: [UInt32: UInt32] = [:]
        for tokens in subflows.compactMap(\.tokens) where goodTokens.contains(tokens.local) {
            // The first subflow of an initiator does not tell the remote token, a join does.
            found[tokens.local] = max(found[tokens.local] ?? 0, tokens.remote)
        }
        return found.map { (local: $0.key, remote: $0.value) }
    }
}
