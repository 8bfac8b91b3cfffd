import PacketWire
import Tcpcrypt

/// What becomes of a peer's MP_JOIN.
enum JoinFate {
    /// It belongs to a connection that was never encrypted.
    case plain
    /// It names a secret of that connection's chain.
    case named(MPTCPConnection, SecretChain)
    /// It joins a connection that has no keys yet, by a path faster than that of the key exchange. Its sender tries again.
    case early
    case refused(JoinRefusal)
}

extension Host {
    /// What becomes of a peer's MP_JOIN, of which nothing is counted or kept for that. A few look-ups, whatever it says.
    ///
    /// - Parameters:
    ///   - token: what it names.
    ///   - options: of its SYN.
    ///   - policy: gives the wish for its peer and port, where that counts.
    func fate(
        ofJoin token: UInt32, _ options: borrowing TCPOptions, _ policy: @autoclosure () -> Policy.Joins
    ) -> JoinFate {
        guard let connection = tracker.connection(localToken: token) else {
            return tracker.isPlain(localToken: token) ? .plain : .refused(.unknownToken)
        }
        guard policy() != .off else { return .refused(.policy) }
        switch (connection.protection, connection.acceptingChain) {
        case (.undecided, _): return .early
        case (.plain, _), (.encrypted, nil): return .refused(.noProof)
        case (.encrypted, let chain?):
            guard let option = options.range(of: ENO.optionKind) else { return .refused(.noProof) }
            switch chain.standing(ofNamesIn: options.span.extracting(option)) {
            case .unknown: return .refused(.badProof)
            case .triedTooOften: return .refused(.tooManyAttempts)
            case .open: return .named(connection, chain)
            }
        }
    }

    func noteRefusedJoin(_ tuple: FlowTuple, _ reason: JoinRefusal, token: UInt32?, _ output: inout Output) {
        counters.joinsRefused += 1
        output.actions.append(.log(.joinRefused(tuple, reason, token: token)))
    }
}

/// Joins that come to nothing: anybody can send them, in any number. There is never a flow for them, so that they cost a few look-ups and take
/// nobody's place; and the lock of what engines share is held for those look-ups only.
extension Engine {
    /// Refuses a SYN from the wire where it is a join that cannot prove itself.
    ///
    /// - Returns: false where it is something else or may prove itself; true where its packet has been dealt with.
    mutating func refusesJoin(
        _ bytes: Span<UInt8>, _ tuple: FlowTuple, _ arrival: Arrival, _ output: inout Output
    ) -> Bool {
        guard arrival.metadata.direction == .inbound, arrival.packet.flags.isDisjoint(with: [.ack, .rst, .fin]) else {
            return false
        }
        let options = TCPOptions(arrival.packet, of: bytes)
        guard let token = options.joinToken else { return false }
        var fate = JoinFate.early
        host.locked { fate = host.fate(ofJoin: token, options, joinPolicy(tuple)) }
        switch fate {
        case .plain, .named: return false
        case .early: break
        case .refused(let reason):
            plainFlows.remove(tuple)
            host.noteRefusedJoin(tuple, reason, token: token, &output)
            host.refuse(arrival, &output)
        }
        drop(arrival.metadata, &output)
        return true
    }

    /// That of a join from the wire.
    private func joinPolicy(_ tuple: FlowTuple) -> Policy.Joins {
        host.configuration.policy(peer: tuple.remote.address, port: tuple.local.port).joins
    }

    // MARK: Joins of which only the local kernel knows to what they belong

    /// What the local kernel says of a join that it opens (``Action/inquire(_:)``). Where it belongs to a connection that is known never to have been
    /// encrypted it may pass, as soon as its SYN comes again; otherwise it is refused.
    ///
    /// - Parameter local: the local token of the connection for which the kernel opened exactly this join; nil where it does not know.
    public mutating func resolve(_ inquiry: JoinInquiry, local: UInt32?, into output: inout Output) {
        var isPlain = false
        host.locked { isPlain = host.tracker.learnPlain(remoteToken: inquiry.token, ofLocal: local) }
        if !isPlain { host.noteRefusedJoin(inquiry.tuple, .unknownToken, token: inquiry.token, &output) }
    }
}
