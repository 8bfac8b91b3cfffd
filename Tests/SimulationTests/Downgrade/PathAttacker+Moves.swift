import PacketWire
import TestSupport

/// What the attacker does with the packet that comes by.
extension PathAttacker {
    /// - Returns: what becomes of the packet; nil where the move does not apply to it.
    func perform(_ move: Move, _ segment: inout Forgery, _ stage: Stage, _ handshake: Handshake) -> Fate? {
        guard move.attack.stages.contains(stage) else { return nil }
        if move.attack.isBeside { return performBeside(move, segment, handshake) ? .passes : nil }
        switch move.attack {
        case .drop: return .gone
        case .delay: return .late
        case .reorder: return .overtaken
        case .duplicate:
            return duplicate(segment, handshake) ? .passes : nil
        case .capableToJoin, .joinToCapable, .otherEndpoint, .splice, .impersonate, .supplant:
            return transform(move, &segment, handshake)
        default: return alter(move, &segment, stage) ? .altered : nil
        }
    }

    /// A copy goes on a little later, by the same way.
    private func duplicate(_ segment: Forgery, _ handshake: Handshake) -> Bool {
        guard handshake.impostor == nil, handshake.crossed == nil, handshake.apparentOpener == handshake.opener else {
            return false
        }
        send(segment, after: random.pick([10, 20_000, 2_000_000]))
        return true
    }

    private func alter(_ move: Move, _ segment: inout Forgery, _ stage: Stage) -> Bool {
        switch move.attack {
        case .stripENO: return segment.strip(TCPOptionKind.encryptionNegotiation)
        case .stripMPTCP: return segment.strip(TCPOptionKind.mptcp)
        case .stripTimestamps: return segment.strip(TCPOptionKind.timestamps)
        case .alterTEPs: return segment.alterTEPs(move.variant)
        case .alterRole: return segment.alterRole(move.variant)
        case .alterIdentifier: return segment.alterIdentifier(move.variant)
        case .alterNonce: return segment.alterNonce(move.variant)
        case .alterRandom: return segment.alterRandom()
        case .alterAddressID: return segment.alterAddressID()
        case .alterKeyExchange: return segment.alterKeyExchange(random.int(0...1_000))
        case .alterToken: return alterToken(&segment, move.variant)
        default: return false
        }
    }

    /// The token of another connection between the hosts, or of none.
    private func alterToken(_ segment: inout Forgery, _ variant: Int) -> Bool {
        guard let token = segment.token, let host = owner(of: segment.destination.address) else { return false }
        if variant == 1 {
            segment.token = ~token
            return true
        }
        let others = tokens(host).filter { $0 != token }
        guard !others.isEmpty else { return false }
        segment.token = random.pick(others)
        return true
    }

    // MARK: From this packet on

    private func transform(_ move: Move, _ segment: inout Forgery, _ handshake: Handshake) -> Fate? {
        switch move.attack {
        case .capableToJoin:
            guard handshake.kind != .join, let host = owner(of: segment.destination.address) else { return nil }
            let known = tokens(host)
            guard !known.isEmpty else { return nil }
            // Once more with the random number of a join that went by.
            let copied = move.variant == 1 ? handshakes.compactMap(\.syn.joinRandom).last : nil
            let number = copied ?? 0x0bad_cafe
            segment.mptcp = MPTCPForgery.joinSYN(token: random.pick(known), random: number)
            handshake.kindAtAcceptor = .join
            return .altered
        case .joinToCapable:
            guard handshake.kind == .join else { return nil }
            segment.mptcp = move.variant == 0 ? MPTCPForgery.capableSYN() : nil
            handshake.kindAtAcceptor = move.variant == 0 ? .capable : .tcp
            return .altered
        case .otherEndpoint:
            guard handshake.apparentOpener == handshake.opener else { return nil }
            handshake.apparentOpener = endpoint(of: move.variant == 0 ? nil : handshake.openerHost)
            lead(handshake.apparentOpener, handshake.acceptor, to: handshake)
            return .altered
        case .splice: return splice(segment, handshake)
        case .impersonate: return impersonate(move, segment, handshake)
        case .supplant: return supplant(move, segment, handshake)
        default: return nil
        }
    }

    /// Crosses this handshake with another one between the same hosts: each opener gets the other one's acceptor.
    private func splice(_ segment: Forgery, _ handshake: Handshake) -> Fate? {
        guard handshake.crossed == nil, handshake.impostor == nil, handshake.thirdAck == nil else { return nil }
        let other = handshakes.last {
            $0 !== handshake && $0.openerHost == handshake.openerHost && $0.crossed == nil && $0.impostor == nil
                && $0.synAck == nil
        }
        guard let other else { return nil }
        handshake.crossed = other
        other.crossed = handshake
        return .altered
    }

    /// Its acceptor's engine forgets a join that it has answered, or its kernel does, and another SYN takes its place before the third ACK.
    private func supplant(_ move: Move, _ segment: Forgery, _ handshake: Handshake) -> Fate? {
        guard handshake.kind == .join, handshake.kindAtAcceptor == .join, handshake.crossed == nil,
            handshake.impostor == nil, let host = owner(of: handshake.acceptor.address),
            let isn = handshake.acceptorISN
        else { return nil }
        var syn = handshake.syn
        syn.source = handshake.apparentOpener
        var isSameNumber = true
        switch move.variant {
        case 0:
            let plain = plainTokens(host)
            guard !plain.isEmpty else { return nil }
            syn.token = random.pick(plain)
            syn.eno = nil
        case 1: (syn.mptcp, syn.eno, isSameNumber) = (nil, nil, false)
        case 2: (syn.mptcp, syn.eno) = (nil, nil)
        case 3: (syn.mptcp, isSameNumber) = (MPTCPForgery.capableSYN(), false)
        case 4:
            let others = tokens(host).filter { $0 != syn.token }
            guard !others.isEmpty else { return nil }
            syn.token = random.pick(others)
        case 5: guard syn.alterRandom() else { return nil }
        default: syn.mptcp = nil
        }
        if !isSameNumber { syn.header.sequence = SequenceNumber(UInt32(truncatingIfNeeded: random.next())) }
        var third = TCPHeader(
            sequence: SequenceNumber(handshake.openerISN &+ 1), acknowledgment: SequenceNumber(isn &+ 1), flags: [.ack],
            window: 60_000)
        func sendToAcceptor(_ header: TCPHeader, _ options: [[UInt8]], _ payload: [UInt8], after microseconds: Int) {
            send(Forgery(from: syn.source, to: syn.destination, header, options, payload: payload), after: microseconds)
        }
        guard move.variant >= 4 else {
            // Without ENO: the engine refuses it.
            sendToAcceptor(third, [MPTCPForgery.joinACK], [], after: 0)
            send(syn, after: 100)
            let clear = Array(PatternStream(number: Self.foreignStream).bytes(0..<64))
            sendToAcceptor(third, [MPTCPForgery.joinACK], clear, after: 200)
            return .passes
        }
        // The modelled kernel looks at the sequence number only, and obeys.
        third.flags = [.rst, .ack]
        third.acknowledgment = SequenceNumber(0)
        sendToAcceptor(third, [], [], after: 0)
        send(syn, after: 100)
        return .gone
    }

    /// The acceptor gets no SYN; the attacker answers with ENO of several kinds.
    private func impersonate(_ move: Move, _ segment: Forgery, _ handshake: Handshake) -> Fate? {
        handshake.impostor = Impostor(
            isn: UInt32(truncatingIfNeeded: random.next()), eno: answerENO(move.variant, to: segment))
        return .altered
    }

    private func answerENO(_ variant: Int, to segment: Forgery) -> [UInt8]? {
        let kind = TCPOptionKind.encryptionNegotiation
        switch variant {
        case 0: return nil
        case 1: return [kind, 4, 1, 0x23]
        // The opener's own words.
        case 2: return segment.eno
        // Those of another acceptor.
        case 3: return handshakes.compactMap(\.synAck?.eno).last
        // Another acceptor's identifier with this one's length.
        default: return [kind, 15, 1, 0xa3] + random.bytes(11)
        }
    }

    /// One end that the attacker makes up goes on.
    func answer(_ segment: Forgery, _ impostor: Impostor, _ handshake: Handshake?, _ path: Path) {
        guard !segment.isReset, owner(of: segment.source.address) != nil else { return }
        var reply = TCPHeader(
            sequence: SequenceNumber(impostor.isn &+ 1),
            acknowledgment: segment.header.sequence + segment.payload.count,
            flags: [.ack], window: 60_000)
        switch segment.stage {
        case .syn:
            reply.sequence = SequenceNumber(impostor.isn)
            reply.acknowledgment = segment.header.sequence + 1
            reply.flags = [.syn, .ack]
            var options: [[UInt8]] = [[TCPOptionKind.maximumSegmentSize, 4, 5, 180]]
            if segment.isJoin { options.append(MPTCPForgery.joinSYNACK(random: 0x0bad_f00d)) }
            if segment.isCapable { options.append(MPTCPForgery.capableSYNACK(key: random.next())) }
            if let eno = impostor.eno { options.append(eno) }
            send(Forgery(from: segment.destination, to: segment.source, reply, options))
        case .synAck:
            // The attacker is the opener of this one.
            reply.acknowledgment = segment.header.sequence + 1
            var options = [MPTCPForgery.joinACK]
            if impostor.eno != nil { options.append([TCPOptionKind.encryptionNegotiation, 2]) }
            send(Forgery(from: segment.destination, to: segment.source, reply, options))
            sendData(reply, segment)
            remember(impostor, handshake, path)
        default:
            guard !impostor.hasSentData else { return }
            send(Forgery(from: segment.destination, to: segment.source, reply, [MPTCPForgery.acknowledgement]))
            sendData(reply, segment)
            remember(impostor, handshake, path)
        }
    }

    private func remember(_ impostor: Impostor, _ handshake: Handshake?, _ path: Path) {
        var used = impostor
        used.hasSentData = true
        if handshake?.impostor != nil { handshake?.impostor = used } else { impostors[path] = used }
    }

    /// Something in clear, and something that was encrypted for another.
    private func sendData(_ header: TCPHeader, _ segment: Forgery) {
        var reply = header
        reply.flags = [.ack, .psh]
        let clear = Array(PatternStream(number: Self.foreignStream).bytes(0..<64))
        let copied = handshakes.flatMap(\.messages).last?.segment.payload
        let payload = random.chance(0.5) ? clear : copied ?? clear
        send(
            Forgery(
                from: segment.destination, to: segment.source, reply, [MPTCPForgery.acknowledgement], payload: payload),
            after: 200)
    }

    /// What no application writes.
    static let foreignStream: UInt8 = 250
}
