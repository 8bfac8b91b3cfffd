import PacketWire
import Tables
public import Tcpcrypt

/// The engine of one host (one network namespace), or of those of its connections that one thread serves: packets and time in,
/// actions out.
///
/// Pure and deterministic: it reads no clock, opens no socket, and draws randomness from its argument only.
public struct Engine: ~Copyable {
    let host: Host
    var flows = SteadyTable<FlowTuple, Flow>()
    var plainFlows = PlainFlows()
    var condemned = CondemnedFlows()
    /// Encrypted flows that have ended: should a kernel go on with one of them, it must not do so in clear.
    private var departed = RecentSet<FlowTuple>(limit: 1 << 18)
    /// SYNs of joins that went to the local kernel and whose flows are gone. The kernel may have them half-open still, and would take
    /// another SYN with the same sequence number for a repetition, whatever connection it names.
    private var pastJoins = RecentSet<SYNName>(limit: 1 << 18)
    var deadlines = DeadlineQueue()
    private var unproven: UnprovenFlows
    private var finished: FinishedFlows
    private var nextSerial: UInt64 = 0
    var nextExpiry = Instant(nanoseconds: 0)
    /// What is too long to be done at once.
    var chores = Chores()

    /// - Parameters:
    ///   - shared: what it has in common with the host's other engines, if there are any.
    ///   - keyLog: gets the keys of all connections where there is one.
    public init(
        configuration: EngineConfiguration, crypto: any CryptoProvider, random: any RandomSource,
        shared: SharedState? = nil, keyLog: (any KeyLog)? = nil
    ) {
        host = Host(
            configuration: configuration, crypto: crypto, random: random, keyLog: keyLog,
            shared: shared ?? SharedState(configuration, crypto: crypto))
        unproven = UnprovenFlows(limit: min(configuration.maximumUnprovenFlows, configuration.maximumFlows))
        finished = FinishedFlows(limit: configuration.maximumFlows / 4)
    }

    // MARK: Packets

    /// One packet from the queue. Every packet gets exactly one `accept`, `replace` or `drop` for its id, now or,
    /// where its verdict has to wait, later.
    ///
    /// - Parameter packet: a whole IP packet; what follows its end is ignored.
    public mutating func receive(
        _ packet: Span<UInt8>, _ metadata: PacketMetadata, now: Instant, into output: inout Output
    ) {
        let parsed: TCPPacket
        do throws(PacketError) {
            parsed = try TCPPacket(parsing: packet)
        } catch {
            if error == .notTCP, metadata.direction == .inbound, packet.isICMP {
                return receiveError(packet, metadata, now: now, into: &output)
            }
            // What cannot be read cannot be translated, and must not slip past the translation either.
            host.counters.malformed += 1
            return drop(metadata, &output)
        }
        switch metadata.direction {
        case .outbound: host.counters.packetsOut += 1
        case .inbound:
            host.counters.packetsIn += 1
            // The verdict will vouch for the checksum.
            guard metadata.isChecksumVerified || parsed.hasValidChecksum(in: packet) else {
                host.counters.malformed += 1
                return drop(metadata, &output)
            }
        }
        let isOutbound = metadata.direction == .outbound
        let tuple = FlowTuple(
            local: isOutbound ? parsed.source : parsed.destination,
            remote: isOutbound ? parsed.destination : parsed.source)
        let arrival = Arrival(packet: parsed, metadata: metadata, now: now)
        if parsed.flags.contains(.syn) {
            if flows[tuple] == nil, refusesJoin(packet, tuple, arrival, &output) { return }
            host.locked { dispatchSYN(packet, tuple, arrival, &output) }
        } else {
            dispatch(packet, tuple, arrival, &output)
        }
    }

    private mutating func dispatch(
        _ bytes: Span<UInt8>, _ tuple: FlowTuple, _ arrival: Arrival, _ output: inout Output
    ) {
        guard let flow = flows[tuple] else { return receiveStray(bytes, tuple, arrival, &output) }
        if flow.isUnconfirmed, arrival.metadata.direction == .inbound, !arrival.packet.flags.contains(.rst) {
            // The kernel would take it for one of the old connection, which nothing but a reset is meant for.
            return drop(arrival.metadata, &output)
        }
        if flow.isSettled {
            serve(flow, bytes, arrival, &output)
        } else {
            host.locked { serve(flow, bytes, arrival, &output) }
        }
    }

    private mutating func serve(
        _ flow: Flow, _ bytes: Span<UInt8>, _ arrival: Arrival, _ output: inout Output
    ) {
        switch arrival.metadata.direction {
        case .outbound: flow.outbound(bytes, arrival, &output)
        case .inbound: flow.inbound(bytes, arrival, &output)
        }
        settle(flow, &output)
    }

    /// A packet of a connection the engine does not track: plain, unless it was encrypted before a restart.
    private mutating func receiveStray(
        _ bytes: Span<UInt8>, _ tuple: FlowTuple, _ arrival: Arrival, _ output: inout Output
    ) {
        let isOutbound = arrival.metadata.direction == .outbound
        if departed.contains(tuple) {
            // It was encrypted and has ended; whoever speaks now does not know it.
            if isOutbound {
                output.actions.append(.destroySocket(tuple))
            } else {
                host.refuse(arrival, &output)
            }
            return drop(arrival.metadata, &output)
        }
        guard condemned.contains(tuple) else { return judgeStray(bytes, tuple, arrival, &output) }
        switch arrival.metadata.direction {
        case .outbound: condemned.outbound(arrival.packet, tuple, host, &output)
        case .inbound: condemned.inbound(arrival.packet, arrival.metadata, tuple, host, &output)
        }
        drop(arrival.metadata, &output)
    }

    /// Ordinary TCP, unless it says that it is something else: the rest of a join that nobody here has judged, or the
    /// third ACK of an opener that encrypts.
    private func judgeStray(
        _ bytes: Span<UInt8>, _ tuple: FlowTuple, _ arrival: Arrival, _ output: inout Output
    ) {
        let options = TCPOptions(arrival.packet, of: bytes)
        let isPlain = plainFlows.contains(tuple)
        let isJoin = options.mayBeJoin && !isPlain
        let isInbound = arrival.metadata.direction == .inbound
        guard isJoin || (isInbound && options.contains(ENO.optionKind) && !arrival.packet.flags.contains(.syn)) else {
            if arrival.packet.flags.contains(.syn), !isPlain, host.requiresEncryption(tuple, arrival.packet) {
                return host.refuseUntracked(tuple, arrival, .unknownHandshake, &output)
            }
            return output.actions.append(.accept(arrival.metadata.id, .plain))
        }
        if isInbound { host.refuse(arrival, &output) }
        drop(arrival.metadata, &output)
    }

    // MARK: SYNs

    private mutating func dispatchSYN(
        _ bytes: Span<UInt8>, _ tuple: FlowTuple, _ arrival: Arrival, _ output: inout Output
    ) {
        let flags = arrival.packet.flags
        let isOutbound = arrival.metadata.direction == .outbound
        // No kernel sends these (RFC 9293 section 3.5); whatever they are for, it is nothing good.
        guard !flags.contains(.rst), !flags.contains(.fin) else { return drop(arrival.metadata, &output) }
        if flags.contains(.ack) { return dispatchSYNACK(bytes, tuple, arrival, &output) }
        // A repetition; but whatever the first SYN was, a join of another connection is judged on its own.
        let isRepeated = plainFlows.contains(tuple, initial: arrival.packet.sequence)
        let token = TCPOptions(arrival.packet, of: bytes).joinToken
        if isRepeated, token == plainFlows.joinToken(of: tuple) {
            return host.acceptSYN(bytes, arrival, .plain, &output)
        }
        if !isOutbound, pastJoins.contains(SYNName(tuple: tuple, initial: arrival.packet.sequence)) {
            return drop(arrival.metadata, &output)
        }
        let succeeds = !isOutbound && wasEncrypted(tuple)
        let hadFlow = flows[tuple] != nil
        let isNew = replaceOld(bytes, tuple, arrival, &output)
        if hadFlow, isNew == true, refusesJoin(bytes, tuple, arrival, &output) { return }
        guard let flow = isNew.map({ $0 ? open(tuple, arrival, succeeds, &output) : flows[tuple] }) else { return }
        guard let flow else {
            guard !succeeds else { return drop(arrival.metadata, &output) }
            return passUntracked(bytes, tuple, arrival, &output)
        }
        if isOutbound {
            flow.sendSYN(bytes, arrival, &output)
        } else {
            flow.receiveSYN(bytes, arrival, &output)
        }
        // The kernel behind a refused join knows nothing of it: neither need we, whoever floods us with them.
        if flow.phase == .aborted { return remove(flow, now: arrival.now, &output) }
        settle(flow, &output)
    }

    /// Connections that are half-open in the local kernel from before there was this engine. Those that a policy wants encrypted must not go on:
    /// what their SYNs said nobody knows.
    public mutating func distrust(halfOpen tuples: [FlowTuple]) {
        for tuple in tuples where flows[tuple] == nil && host.requiresEncryption(tuple) { departed.insert(tuple) }
    }

    /// Makes way for a new connection where an old one had the same addresses.
    ///
    /// - Returns: whether the SYN opens a connection; nil where it must not and has been answered.
    private mutating func replaceOld(
        _ bytes: Span<UInt8>, _ tuple: FlowTuple, _ arrival: Arrival, _ output: inout Output
    ) -> Bool? {
        plainFlows.remove(tuple)
        guard let flow = flows[tuple] else { return true }
        let isOutbound = arrival.metadata.direction == .outbound
        let initial = isOutbound ? flow.outOrigin.initial : flow.inOrigin.initial
        let isSimultaneous = flow.phase == .opening && !isOutbound
        if arrival.packet.sequence == initial, flow.isFinished || flow.isReset {
            // A straggler of a connection that is over: the kernel would take it for a new one.
            drop(arrival.metadata, &output)
            return nil
        }
        if arrival.packet.sequence == initial || isSimultaneous { return false }
        let isLive = (flow.phase == .keyExchange || flow.phase == .encrypted) && !flow.isReset && !flow.isFinished
        if isLive && !isOutbound {
            // A live connection answers and does not budge (RFC 5961 section 4.2).
            flow.challenge(arrival.now, &output)
            drop(arrival.metadata, &output)
            return nil
        }
        if flow.hasPromisedEncryption, !isOutbound, !flow.isReset {
            // Whoever forged this must not undo the promise; the kernel tells whether it takes it for a new beginning.
            flow.passOtherSYN(bytes, arrival, &output)
            return nil
        }
        remove(flow, now: arrival.now, &output)
        return true
    }

    /// Whether a kernel that goes on with an old connection of these addresses would do so in clear.
    private func wasEncrypted(_ tuple: FlowTuple) -> Bool {
        let isProtected = flows[tuple].map { $0.isProtected || $0.isUnconfirmed } ?? false
        return isProtected || departed.contains(tuple) || condemned.contains(tuple)
    }

    /// - Parameter succeeds: whether the old connection may be alive in the local kernel, whatever came from the wire.
    private mutating func open(
        _ tuple: FlowTuple, _ arrival: Arrival, _ succeeds: Bool, _ output: inout Output
    ) -> Flow? {
        if !succeeds { forgetOld(tuple) }
        let isOpener = arrival.metadata.direction == .outbound
        if flows.count >= host.configuration.maximumFlows, let oldest = finished.first {
            finished.leave(oldest)
            flows[oldest.tuple].map { remove($0, now: arrival.now, &output) }
        }
        if flows.count >= host.configuration.maximumFlows { evictUnproven(arrival.now, &output) }
        if !isOpener, !unproven.hasRoom { evictUnproven(ofAge: UnprovenFlows.patience, arrival.now, &output) }
        guard flows.count < host.configuration.maximumFlows, isOpener || unproven.hasRoom else { return nil }
        nextSerial += 1
        let id = FlowID(tuple: tuple, serial: nextSerial)
        let flow = Flow(host: host, id: id, isOpener: isOpener, now: arrival.now)
        flow.isUnconfirmed = succeeds
        flows[tuple] = flow
        if !isOpener {
            flow.isCountedUnproven = true
            unproven.append(id, now: arrival.now)
        }
        return flow
    }

    /// The oldest unproven acceptor makes way. Should its opener come after all, it is refused, as it may encrypt.
    private mutating func evictUnproven(ofAge age: Int64 = 0, _ now: Instant, _ output: inout Output) {
        guard let oldest = unproven.first(ofAge: age, now) else { return }
        guard let flow = flows[oldest.tuple], flow.id == oldest else { return unproven.leave(oldest) }
        if flow.isProtected { flow.giveUpUnproven(now, &output) }
        if flow.hasPromisedEncryption { departed.insert(oldest.tuple) }
        remove(flow, now: now, &output)
    }

    private mutating func leaveUnproven(_ flow: Flow) {
        guard flow.isCountedUnproven else { return }
        flow.isCountedUnproven = false
        unproven.leave(flow.id)
    }

    /// The kernel itself has begun a new connection.
    private mutating func forgetOld(_ tuple: FlowTuple) {
        departed.remove(tuple)
        condemned.remove(tuple)
    }

    /// The table is full: ordinary TCP, but never a join that might belong to an encrypted connection.
    private func passUntracked(
        _ bytes: Span<UInt8>, _ tuple: FlowTuple, _ arrival: Arrival, _ output: inout Output
    ) {
        let options = TCPOptions(arrival.packet, of: bytes)
        guard !options.mayBeJoin else { return drop(arrival.metadata, &output) }
        guard !host.requiresEncryption(tuple, arrival.packet) else {
            return host.refuseUntracked(tuple, arrival, .tableFull, &output)
        }
        host.counters.fallbacks += 1
        host.acceptSYN(bytes, arrival, .plain, &output)
    }

    private mutating func dispatchSYNACK(
        _ bytes: Span<UInt8>, _ tuple: FlowTuple, _ arrival: Arrival, _ output: inout Output
    ) {
        guard let flow = flows[tuple] else { return receiveStray(bytes, tuple, arrival, &output) }
        if flow.isUnconfirmed, arrival.metadata.direction == .outbound {
            guard arrival.packet.acknowledgment == flow.inOrigin.sequence(at: 0) else {
                return drop(arrival.metadata, &output)
            }
            flow.isUnconfirmed = false
            forgetOld(tuple)
        }
        let answersOther = arrival.packet.acknowledgment != flow.inOrigin.sequence(at: 0)
        if arrival.metadata.direction == .outbound, flow.hasPromisedEncryption, answersOther {
            // The kernel has begun anew, with the SYN that was passed without its ENO option.
            let isNeverPlain = flow.isNeverPlain
            flow.isNeverPlain = false
            remove(flow, now: arrival.now, &output)
            // Its SYN comes again, and is judged.
            guard !isNeverPlain else { return drop(arrival.metadata, &output) }
            return output.actions.append(.accept(arrival.metadata.id, .undecided))
        }
        switch (arrival.metadata.direction, flow.isOpener) {
        case (.outbound, false): flow.sendSYNACK(bytes, arrival, &output)
        case (.inbound, true): flow.receiveSYNACK(bytes, arrival, &output)
        case (.outbound, true): flow.sendCrossedSYNACK(bytes, arrival, &output)
        case (.inbound, false):
            // Both ends opened; if the flow went plain for that, let it.
            let isPlain = flow.phase == .plain || flow.phase == .observing
            if isPlain {
                output.actions.append(.accept(arrival.metadata.id, .undecided))
            } else {
                drop(arrival.metadata, &output)
            }
        }
        settle(flow, &output)
    }

    func drop(_ metadata: PacketMetadata, _ output: inout Output) {
        host.counters.packetsDropped += 1
        output.actions.append(.drop(metadata.id))
    }

    // MARK: Life and death of flows

    /// After every event of a flow: keeps its deadline, and forgets what needs no state.
    mutating func settle(_ flow: Flow, _ output: inout Output) {
        if !flow.isUnproven { leaveUnproven(flow) }
        if flow.isFinished, !flow.isCountedFinished {
            flow.isCountedFinished = true
            if let oldest = finished.append(flow.id) {
                finished.leave(oldest)
                flows[oldest.tuple].map { remove($0, now: $0.lastActivity, &output) }
            }
        }
        if flow.phase == .aborted, flow.isUnproven {
            // No kernel has it any more, and what else its peer may send needs no more than the address to be refused.
            return remove(flow, now: flow.lastActivity, &output)
        }
        if flow.phase == .plain {
            rememberJoin(flow)
            flows[flow.tuple] = nil
            deadlines.remove(flow)
            plainFlows.insert(PlainFlow(flow))
            return
        }
        schedule(flow)
    }

    mutating func schedule(_ flow: Flow) {
        guard let next = flow.nextDeadline else { return }
        if let scheduled = flow.scheduled, scheduled <= next { return }
        flow.scheduled = next
        deadlines.set(flow, at: next)
    }

    mutating func remove(_ flow: Flow, now: Instant, _ output: inout Output) {
        flow.dropHeld(&output)
        if flow.isJournaled || flow.isNeverPlain { departed.insert(flow.tuple) }
        if flow.isJournaled { output.actions.append(.journalRemove(flow.tuple)) }
        rememberJoin(flow)
        forget(flow, now: now)
    }

    /// Of those that are refused the kernel sees nothing.
    private mutating func rememberJoin(_ flow: Flow) {
        guard flow.isJoin, !flow.isOpener, flow.mptcp != nil || flow.phase == .plain else { return }
        pastJoins.insert(SYNName(tuple: flow.tuple, initial: flow.inOrigin.initial))
    }

    private mutating func forget(_ flow: Flow, now: Instant) {
        if flows[flow.tuple] === flow { flows[flow.tuple] = nil }
        flow.removalDeadline = nil
        deadlines.remove(flow)
        leaveUnproven(flow)
        if flow.isCountedFinished { finished.leave(flow.id) }
        guard let mptcp = flow.mptcp else { return }
        host.locked {
            mptcp.subflows -= 1
            if mptcp.subflows <= 0 { host.tracker.noteEmpty(mptcp, now: now) }
        }
    }
}

/// What a kernel takes a SYN for a repetition by.
private struct SYNName: Hashable {
    let tuple: FlowTuple
    let initial: SequenceNumber
}
