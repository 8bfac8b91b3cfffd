import FlowEngine

/// What may come of MPTCP connections between two hosts, whoever meddles with their handshakes: the abstract state that the engines and the
/// kernels are held against.
///
///     end of a connection:  undecided --first subflow--> plain
///                                     --first subflow--> encrypted(session ID)      never anything else again
///     subflow:              not there --established--> plain, or encrypted(session ID)
///
///     first subflow   plain or encrypted, and so its end
///     join            plain where its end is plain, encrypted by the join chain where its end is encrypted, none where it is undecided
///
/// What the packets said is no part of it: that is the point. An end knows its connection by the tokens that its engine has; which subflows
/// have the same keys is known by their session IDs.
struct HandshakeModel {
    typealias SessionID = [UInt8]

    /// One end of an MPTCP connection.
    struct End: Hashable {
        let host: Int
        let number: Int
    }

    enum Protection: Hashable {
        case undecided
        case plain
        case encrypted(SessionID)

        var isEncrypted: Bool {
            if case .encrypted = self { true } else { false }
        }
    }

    /// A subflow as the engine of its host sees it when its kernel has it established.
    struct Subflow: Hashable, CustomStringConvertible {
        let end: End
        /// Names the socket.
        let number: Int
        let isJoin: Bool
        let isOpener: Bool
        var state: SubflowState
        var origin: Origin?
        var sessionID: SessionID
        var secretIndex: Int?
        /// Both tokens of its connection, the smaller first.
        var tokens: [UInt32] = []

        var description: String {
            "subflow \(number) of end \(end.number) at host \(end.host), \(isJoin ? "join" : "first"),"
                + " \(isOpener ? "opener" : "acceptor"), \(state.rawValue), \(origin?.rawValue ?? "no keys")"
        }
    }

    private(set) var protection: [End: Protection] = [:]
    private(set) var violations: [String] = []
    /// Subflows of which an engine says that the peer has their keys.
    private var proven: [SessionID: [Subflow]] = [:]
    /// The joins of one chain that were proved, by what they used of it.
    private var spent: Set<[UInt8]> = []
    private var provenSockets: Set<Int> = []

    func protection(of end: End) -> Protection { protection[end] ?? .undecided }

    // MARK: Steps

    /// A first subflow turns out to be plain or encrypted.
    mutating func settle(_ subflow: Subflow, as settled: Protection) {
        let before = protection(of: subflow.end)
        guard before != settled else { return }
        guard before == .undecided else {
            return violate("the connection of \(subflow) was \(before), and is \(settled)")
        }
        protection[subflow.end] = settled
    }

    /// A kernel has completed a handshake.
    ///
    /// - Parameter isProven: the engine says that the peer has the keys.
    mutating func establish(_ subflow: Subflow, isProven: Bool) {
        guard subflow.isJoin else {
            // Until its first subflow is one thing or the other, an end is nothing.
            if protection(of: subflow.end).isEncrypted, subflow.state == .plain { violate("downgraded: \(subflow)") }
            return
        }
        switch protection(of: subflow.end) {
        case .undecided: violate("a join without a connection: \(subflow)")
        case .plain: if subflow.state != .plain { violate("a join of a plain connection: \(subflow)") }
        case .encrypted:
            if subflow.state != .encrypted { violate("not encrypted: \(subflow)") }
            if subflow.origin != .join { violate("not by the join chain: \(subflow)") }
            if !isProven { violate("not proved: \(subflow)") }
        }
    }

    /// An engine says that a subflow is encrypted, and for an acceptor that the peer has shown that it has the keys.
    mutating func prove(_ subflow: Subflow) {
        guard provenSockets.insert(subflow.number).inserted else { return }
        proven[subflow.sessionID, default: []].append(subflow)
        guard subflow.isJoin, case .encrypted(let session) = protection(of: subflow.end) else { return }
        let use =
            session + [UInt8(subflow.end.host), subflow.isOpener ? 1 : 0]
            + [24, 16, 8, 0].map { UInt8(truncatingIfNeeded: (subflow.secretIndex ?? 0) >> $0) }
        if !spent.insert(use).inserted { violate("a join secret for two subflows: \(subflow)") }
    }

    private mutating func violate(_ what: String) { violations.append("model: " + what) }

    // MARK: Judgement

    /// Who has the same keys.
    func partners(of subflow: Subflow) -> [Subflow] {
        proven[subflow.sessionID, default: []].filter { $0.number != subflow.number }
    }

    /// What is wrong with the subflows that were proved, all in all.
    var disagreements: [String] {
        proven.values.flatMap { $0 }.sorted { $0.number < $1.number }.flatMap(disagreements)
    }

    private func disagreements(of subflow: Subflow) -> [String] {
        let partners = partners(of: subflow)
        var found: [String] = []
        if partners.count > 1 { found.append("one session ID for \(partners.count + 1) subflows: \(subflow)") }
        // An opener may have been answered by a copy of its acceptor's SYN-ACK, and whoever answers Init1 has not heard of its sender again.
        if partners.isEmpty, !subflow.isOpener, subflow.origin != .fresh {
            found.append("nobody has the keys of \(subflow)")
        }
        for partner in partners {
            if partner.end.host == subflow.end.host { found.append("joined to itself: \(subflow)") }
            if partner.isOpener == subflow.isOpener { found.append("two openers or acceptors: \(subflow)") }
            if partner.isJoin != subflow.isJoin { found.append("a join for one end alone: \(subflow), \(partner)") }
            if subflow.isJoin, partner.tokens != subflow.tokens {
                found.append("of two connections: \(subflow), \(partner)")
            }
        }
        return found.map { "model: " + $0 }
    }
}
