import PacketWire
import TestSupport

/// What the attacker sends of their own accord: copies of what went by, and what was made up.
extension PathAttacker {
    /// - Returns: whether there was anything to do it with.
    func performBeside(_ move: Move, _ segment: Forgery, _ handshake: Handshake?) -> Bool {
        switch move.attack {
        case .replaySYN, .replaySYNElsewhere, .replaySYNToOther, .reflectSYN: replaySYN(move)
        case .replaySYNACK: replaySYNACK(move)
        case .replayThirdACK: replayThirdACK()
        case .replayKeyExchange: replayMessage(.keyExchange, move)
        case .replayFrame: replayMessage(.frame, move)
        case .forgeJoin: forgeJoin(move)
        case .forgeSYN: forgeSYN(move)
        case .forgeReset: forgeReset(move, handshake)
        default: false
        }
    }

    /// Those whose SYN was answered.
    private var answered: [Handshake] { handshakes.filter { $0.synAck != nil } }

    /// Joins rather than others, and late ones rather than early ones.
    private func pick(_ from: [Handshake]) -> Handshake? {
        guard !from.isEmpty else { return nil }
        let joins = from.filter { $0.kind == .join }
        let chosen = !joins.isEmpty && random.chance(0.7) ? joins : from
        return random.chance(0.5) ? chosen.last : random.pick(chosen)
    }

    private func isTimely(_ copy: Forgery) -> Int { random.pick([0, 0, 500_000]) }

    private func replaySYN(_ move: Move) -> Bool {
        guard let chosen = pick(handshakes) else { return false }
        var copy = chosen.syn
        switch move.attack {
        case .replaySYNElsewhere:
            copy.source = endpoint(of: move.variant == 0 ? nil : chosen.openerHost)
            impostors[Path(a: copy.destination, b: copy.source)] = Impostor(isn: chosen.openerISN, eno: copy.eno)
        case .replaySYNToOther:
            guard let host = owner(of: copy.destination.address) else { return false }
            let others = tokens(host).filter { $0 != copy.token }
            guard !others.isEmpty else { return false }
            let token = random.pick(others)
            if copy.isJoin {
                copy.token = token
            } else {
                copy.mptcp = MPTCPForgery.joinSYN(token: token, random: 0x0bad_cafe)
            }
            if move.variant == 0 { copy.source = endpoint(of: chosen.openerHost) }
            impostors[Path(a: copy.destination, b: copy.source)] = Impostor(isn: chosen.openerISN, eno: copy.eno)
        case .reflectSYN:
            let known = tokens(chosen.openerHost)
            guard !known.isEmpty else { return false }
            copy.destination = Endpoint(address: chosen.opener.address, port: 5001)
            copy.source = endpoint(of: move.variant == 0 ? nil : 1 - chosen.openerHost)
            copy.mptcp = MPTCPForgery.joinSYN(
                token: random.pick(known), random: copy.joinRandom ?? 1)
            impostors[Path(a: copy.destination, b: copy.source)] = Impostor(isn: chosen.openerISN, eno: copy.eno)
        default: break
        }
        send(copy, after: isTimely(copy))
        return true
    }

    /// Into a handshake that waits for one, or its own again.
    private func replaySYNACK(_ move: Move) -> Bool {
        guard let chosen = pick(answered), var copy = chosen.synAck else { return false }
        if move.variant == 1 {
            let waiting = handshakes.filter { $0.synAck == nil && $0.openerHost == chosen.openerHost }
            guard let target = waiting.last else { return false }
            copy.source = target.acceptor
            copy.destination = target.opener
            copy.header.acknowledgment = SequenceNumber(target.openerISN &+ 1)
            if target.kind == .join, !copy.isJoin { copy.mptcp = MPTCPForgery.joinSYNACK(random: 9) }
            if target.kind == .capable, !copy.isCapable { copy.mptcp = MPTCPForgery.capableSYNACK(key: random.next()) }
        }
        send(copy)
        return true
    }

    /// Into a handshake whose acceptor waits for one.
    private func replayThirdACK() -> Bool {
        let complete = answered.filter { $0.thirdAck != nil }
        guard let chosen = pick(complete), var copy = chosen.thirdAck else { return false }
        let waiting = answered.last(where: { $0.thirdAck == nil })
        let target = random.chance(0.7) ? waiting ?? chosen : chosen
        copy.source = target.apparentOpener
        copy.destination = target.acceptor
        copy.header.sequence = SequenceNumber(target.openerISN &+ 1)
        copy.header.acknowledgment = SequenceNumber((target.acceptorISN ?? 0) &+ 1)
        if target.kindAtAcceptor == .join, !copy.isJoin { copy.mptcp = MPTCPForgery.joinACK }
        send(copy, after: isTimely(copy))
        return true
    }

    /// What one end sent in one connection goes to either end of another, or of the same one.
    private func replayMessage(_ stage: Stage, _ move: Move) -> Bool {
        let messages = handshakes.flatMap { handshake in
            handshake.messages.filter { $0.stage == stage }.map { (handshake, $0.segment, $0.isFromOpener) }
        }
        guard !messages.isEmpty, let target = pick(answered) else { return false }
        let (origin, segment, wasFromOpener) = random.pick(messages)
        // The other way round, too.
        let isFromOpener = move.variant == 0 ? wasFromOpener : !wasFromOpener
        let first = wasFromOpener ? origin.openerISN : origin.acceptorISN ?? 0
        let place = segment.header.sequence.rawValue &- first
        let isn = isFromOpener ? target.openerISN : target.acceptorISN ?? 0
        let next = isFromOpener ? target.next.opener : target.next.acceptor
        var copy = segment
        copy.source = isFromOpener ? target.apparentOpener : target.acceptor
        copy.destination = isFromOpener ? target.acceptor : target.apparentOpener
        copy.header.sequence = SequenceNumber(random.chance(0.5) ? isn &+ place : next)
        copy.header.acknowledgment = SequenceNumber(isFromOpener ? target.next.acceptor : target.next.opener)
        copy.options = copy.options.filter { $0[0] != TCPOptionKind.timestamps }
        send(copy)
        return true
    }

    // MARK: Made up

    /// With the token of a connection, and with no ENO, a fresh one, an identifier made up or copied.
    private func forgeJoin(_ move: Move) -> Bool {
        let host = random.int(0...1)
        let known = tokens(host)
        guard !known.isEmpty else { return false }
        let target = Endpoint(address: simulation.address(self.host(host)), port: 5001)
        let source = endpoint(of: random.chance(0.5) ? nil : 1 - host)
        let kind = TCPOptionKind.encryptionNegotiation
        let copied = handshakes.filter { $0.kind == .join }.compactMap(\.syn.eno)
        let eno: [UInt8]?
        switch move.variant {
        case 0: eno = nil
        case 1: eno = [kind, 3, 0x23]
        case 2: eno = [kind, 20, 0xa3] + random.bytes(17)
        // A vacuous one.
        case 3: eno = [kind, 3, 0x01]
        default: eno = copied.isEmpty ? [kind, 2] : random.pick(copied)
        }
        let isn = UInt32(truncatingIfNeeded: random.next())
        var options: [[UInt8]] = [
            [TCPOptionKind.maximumSegmentSize, 4, 5, 180],
            MPTCPForgery.joinSYN(token: random.pick(known), random: 0x0bad_cafe),
        ]
        if let eno { options.append(eno) }
        let header = TCPHeader(
            sequence: SequenceNumber(isn), acknowledgment: SequenceNumber(0), flags: [.syn], window: 60_000)
        impostors[Path(a: target, b: source)] = Impostor(isn: isn, eno: eno)
        send(Forgery(from: source, to: target, header, options))
        return true
    }

    /// In the place of one end of a connection, with MPTCP and without.
    private func forgeSYN(_ move: Move) -> Bool {
        guard let target = pick(handshakes) else { return false }
        let toAcceptor = random.chance(0.5)
        let isSameNumber = random.chance(0.5)
        let number =
            isSameNumber
            ? (toAcceptor ? target.openerISN : target.acceptorISN ?? 0) : UInt32(truncatingIfNeeded: random.next())
        let header = TCPHeader(
            sequence: SequenceNumber(number), acknowledgment: SequenceNumber(0), flags: [.syn], window: 60_000)
        var options: [[UInt8]] = [[TCPOptionKind.maximumSegmentSize, 4, 5, 180]]
        if move.variant == 1, let host = owner(of: (toAcceptor ? target.acceptor : target.opener).address) {
            let known = tokens(host)
            options.append(
                known.isEmpty || random.chance(0.5)
                    ? MPTCPForgery.capableSYN() : MPTCPForgery.joinSYN(token: random.pick(known), random: 1))
        }
        let (source, destination) =
            toAcceptor ? (target.apparentOpener, target.acceptor) : (target.acceptor, target.opener)
        send(Forgery(from: source, to: destination, header, options))
        return true
    }

    /// To either end, at the right place or beside it.
    private func forgeReset(_ move: Move, _ handshake: Handshake?) -> Bool {
        guard let target = random.chance(0.6) ? handshake ?? pick(handshakes) : pick(handshakes) else { return false }
        let toAcceptor = move.variant & 1 == 0
        let off: UInt32 = move.variant & 2 == 0 ? 0 : 77
        let next = target.next
        let header = TCPHeader(
            sequence: SequenceNumber((toAcceptor ? next.opener : next.acceptor) &+ off),
            acknowledgment: SequenceNumber((toAcceptor ? next.acceptor : next.opener) &+ off), flags: [.rst, .ack],
            window: 0)
        let (source, destination) =
            toAcceptor ? (target.apparentOpener, target.acceptor) : (target.acceptor, target.opener)
        send(Forgery(from: source, to: destination, header, []))
        return true
    }
}
