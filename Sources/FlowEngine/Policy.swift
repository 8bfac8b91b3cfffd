public import PacketWire
public import Tcpcrypt

/// What is wanted of a connection.
public struct Policy: Sendable, Hashable {
    public enum Encryption: String, Sendable, Hashable, CaseIterable {
        /// Never ordinary TCP: where encryption does not come about, both ends see an error.
        case require
        /// Ordinary TCP where the peer or the path wants no encryption (RFC 8547 section 4.6).
        case prefer
        /// Left alone; never said of a join.
        case off
    }

    /// What becomes of an MP_JOIN (RFC 8684 section 3.2), whoever sends it. None of these lets a subflow into an encrypted connection that does not
    /// prove by the connection's join chain that it belongs there: subflows of one connection carry one stream, and the weakest of them would
    /// decide what all are worth. Joins of connections that were never encrypted are left alone by all three.
    public enum Joins: String, Sendable, Hashable, CaseIterable {
        /// A join proves that it belongs to an encrypted connection, or is refused; so is one of which it is not known to what it belongs.
        case require
        /// The same, but the local kernel is asked to which connection a join belongs that it opens itself, where the token tells nothing: it passes in
        /// clear if that connection was never encrypted, as one that is older than the daemon. Of an unknown token in a peer's
        /// join nobody trustworthy says whose it is: that is refused as ever.
        case prefer
        /// Encrypted connections are not joined at all, with proof or without: no secret is spent on it and nothing looked up.
        case off
    }

    public var encryption = Encryption.prefer
    /// By the peer's address and the port to which the SYN of the join itself goes.
    public var joins = Joins.require
    /// Bit a of the first subflow (RFC 8547 section 4.2).
    public var applicationAware = ApplicationAwareness.off
    /// As an active opener this host sets bit b (RFC 8547 section 4.3), for peers that open at the same time and leave it out.
    public var takesPassiveRole = false
    /// Whether its session is kept, and one of before is used (RFC 8548 section 3.5); joins are not affected.
    public var resumes = true

    public init() {}
}

/// A policy and the connections it is for.
public struct PolicyRule: Sendable, Hashable {
    /// Of the peer; empty for any.
    public var prefixes: [IPPrefix] = []
    /// To which the first SYN goes; empty for any.
    public var ports: [ClosedRange<UInt16>] = []
    public var policy = Policy()

    public init() {}

    func matches(peer: IPAddress, port: UInt16) -> Bool {
        (ports.isEmpty || ports.contains { $0.contains(port) })
            && (prefixes.isEmpty || prefixes.contains { $0.contains(peer) })
    }
}

extension EngineConfiguration {
    /// The policy of a connection; it is looked for once in its life.
    ///
    /// - Parameters:
    ///   - peer: the other host, whoever opens.
    ///   - port: to which the SYN goes.
    func policy(peer: IPAddress, port: UInt16) -> Policy {
        if let rule = rule(peer: peer, port: port) { return rule.policy }
        var policy = Policy()
        if excludedPorts.contains(port) { policy.encryption = .off }
        return policy
    }

    /// The first one that matches.
    func rule(peer: IPAddress, port: UInt16) -> PolicyRule? {
        policies.first { $0.matches(peer: peer, port: port) }
    }
}

extension Flow {
    /// The port to which the first SYN goes.
    var openedPort: UInt16 { isOpener ? tuple.remote.port : tuple.local.port }

    /// A join proves itself or is refused, whatever is wanted of the encryption of other connections.
    var mustEncrypt: Bool { policy.encryption == .require && !isJoin }

    var mayResume: Bool { host.configuration.resumption && policy.resumes }

    /// Why a SYN of either direction is not for TCP-ENO at all.
    var reasonToStayPlain: FallbackReason? {
        if policy.encryption == .off {
            let isExplicit = host.configuration.rule(peer: tuple.remote.address, port: openedPort) != nil
            return isExplicit ? .policy : .excludedPort
        }
        if !host.isRandomnessSeeded { return .noRandomness }
        if host.configuration.teps.isEmpty { return .noCommonTEP }
        return nil
    }

    // MARK: Connections that may not be ordinary TCP

    /// There will be no encryption, and without it no connection. Whoever calls this sees to it that both ends are told.
    func refuse(_ reason: FallbackReason, _ output: inout Output) {
        self.reason = reason
        isRefused = true
        phase = .aborted
        opening = nil
        accepting = nil
        host.noteRefused(tuple, reason, &output)
    }

    /// Tells the local kernel, whose connect() fails with ECONNREFUSED, or whose half-open connection goes.
    func resetLocalHandshake(_ output: inout Output) {
        host.inject(resetOfHandshake, to: tuple, &output)
    }

    /// What the local kernel obeys before the connection is established (RFC 9293 section 3.10.7): in SYN-SENT the number it acknowledges
    /// counts, in SYN-RECEIVED the sequence number.
    private var resetOfHandshake: TCPHeader {
        if isOpener {
            return TCPHeader(
                sequence: isJoin ? Self.sequenceOfJoinReset : inOrigin.sequence(at: 0),
                acknowledgment: outOrigin.sequence(at: 0), flags: [.rst, .ack],
                window: 0)
        }
        return TCPHeader(
            sequence: inOrigin.sequence(at: 0), acknowledgment: SequenceNumber(0), flags: .rst, window: 0)
    }

    /// Resets both ends on a packet from the wire: the kernel gets a reset in its place.
    func resetBoth(_ bytes: Span<UInt8>, _ arrival: Arrival, _ output: inout Output) {
        host.refuse(arrival, &output)
        let range = rewrite(arrival.packet, resetOfHandshake, options: TCPOptions(), template: bytes, &output)
        output.actions.append(.replace(arrival.metadata.id, range, .undecided))
        removalDeadline = arrival.now.adding(milliseconds: FlowTime.reset)
        isNeverPlain = true
    }
}

extension Host {
    func noteRefused(_ tuple: FlowTuple, _ reason: FallbackReason, _ output: inout Output) {
        counters.connectionsRefused += 1
        output.actions.append(.log(.refused(tuple, reason)))
    }

    /// Hands the local kernel a packet of `fields` as if the peer had sent it.
    func inject(_ fields: TCPHeader, to tuple: FlowTuple, _ output: inout Output) {
        guard let range = make(fields, from: tuple.remote, to: tuple.local, options: TCPOptions(), &output) else {
            return
        }
        output.actions.append(.injectLocal(range))
    }

    /// Whether a connection may not be ordinary TCP, by one of its SYNs or SYN-ACKs; for those that no flow stands for.
    func requiresEncryption(_ tuple: FlowTuple, _ packet: TCPPacket) -> Bool {
        let port = packet.flags.contains(.ack) ? packet.source.port : packet.destination.port
        return configuration.policy(peer: tuple.remote.address, port: port).encryption == .require
    }

    /// The same where nobody knows who opened it.
    func requiresEncryption(_ tuple: FlowTuple) -> Bool {
        [tuple.local.port, tuple.remote.port].contains {
            configuration.policy(peer: tuple.remote.address, port: $0).encryption == .require
        }
    }

    /// Refuses a connection whose SYN or SYN-ACK came while no flow stands for it.
    func refuseUntracked(_ tuple: FlowTuple, _ arrival: Arrival, _ reason: FallbackReason, _ output: inout Output) {
        let packet = arrival.packet
        let isInbound = arrival.metadata.direction == .inbound
        let isAnswer = packet.flags.contains(.ack)
        if isInbound { refuse(arrival, &output) }
        // A SYN-ACK of the local kernel just stays: its peer sends the SYN again, and that one is judged.
        if isInbound == isAnswer {
            let acknowledged = isAnswer ? packet.acknowledgment : packet.sequence + 1
            let fields = TCPHeader(
                sequence: SequenceNumber(0), acknowledgment: acknowledged, flags: [.rst, .ack], window: 0)
            inject(fields, to: tuple, &output)
        }
        noteRefused(tuple, reason, &output)
        counters.packetsDropped += 1
        output.actions.append(.drop(arrival.metadata.id))
    }
}
