import PacketWire
import Tcpcrypt

/// From a negotiated TEP to traffic keys, and from MPTCP keys to join chains.
extension Flow {
    /// Takes a connection's secret into use; the caller has set ``origin``.
    func install(_ secret: ConnectionSecret, now: Instant, _ output: inout Output) {
        let crypto = host.crypto
        self.secret = secret
        keyFacts = (secret.aead, secret.index)
        (sealer, opener) = secret.streams(crypto)
        sessionID = secret.sessionID(crypto)
        if let keyLog = host.keyLog { secret.record(in: keyLog, crypto) }
        phase = .encrypted
        keyExchange = nil
        opening = nil
        accepting = nil
        if origin == .fresh, mayResume {
            let chain = secret.sessionChain(crypto, lookAhead: SharedState.sessionLookAhead)
            sessionChain = chain
            host.sessions.store(chain, peer: tuple.remote.address, now: now.milliseconds)
            if isOpener { host.sessions.noteSuccess(of: chain, at: tuple.remote) }
        }
        armRekeyTimer(now)
        linkJoinChains(&output)
        guard proofOwed == nil, !isJoin else { return }
        becomeProven()
        countOrigin()
        output.actions.append(.log(.encrypted(tuple, origin ?? .fresh)))
    }

    /// Takes Init1 or Init2, a whole message; false when it is no good, or comes too soon after too many others.
    func exchangeKeys(_ message: Span<UInt8>, _ now: Instant, _ output: inout Output) -> Bool {
        role == .a ? finishExchange(message, now, &output) : answerExchange(message, now, &output)
    }

    /// Init1: Init2 leaves at once, so that the opener computes at the same time as we do.
    private func answerExchange(_ init1: Span<UInt8>, _ now: Instant, _ output: inout Output) -> Bool {
        guard let tep, host.keyExchanges.admit(now) else { return false }
        let exchange: KeyExchangeB
        do throws(KeyExchangeError) {
            exchange = try KeyExchangeB(
                init1: init1, tep: tep, aeads: host.configuration.aeads, transcript: transcript,
                pair: host.keyPair(tep, now), crypto: host.crypto, random: host.random)
        } catch {
            abort(AbortReason(error), now: now, &output)
            return false
        }
        receive.appendEngineOwned(init1.count)
        send.append(exchange.init2.span, kCount: 0, lead: exchange.init2.count)
        injectOwn(0..<exchange.init2.count, flags: [.ack, .psh], options: ownOptions(now: now), &output)
        armEngineTimer(now)
        answered = (exchange, now)
        return true
    }

    /// What is left of an exchange that was answered; false where the peer's key is no good.
    func finishAnswered(_ now: Instant, _ output: inout Output) -> Bool {
        guard let exchange = answered?.exchange else { return true }
        answered = nil
        return install(now, &output) { () throws(KeyExchangeError) in try exchange.finish() }
    }

    /// Init2.
    private func finishExchange(_ init2: Span<UInt8>, _ now: Instant, _ output: inout Output) -> Bool {
        guard let exchange = keyExchange else { return false }
        let isGood = install(now, &output) { () throws(KeyExchangeError) in
            let secret = try exchange.finish(init2: init2)
            receive.appendEngineOwned(init2.count)
            return secret
        }
        // The acceptor's Init2 itself acknowledges Init1.
        if isGood { ackOwed = true }
        return isGood
    }

    /// Takes the secret into use that `agree` makes.
    private func install(
        _ now: Instant, _ output: inout Output, _ agree: () throws(KeyExchangeError) -> ConnectionSecret
    ) -> Bool {
        host.counters.publicKeyOperations += 1
        do throws(KeyExchangeError) {
            install(try aside(agree), now: now, &output)
        } catch {
            abort(AbortReason(error), now: now, &output)
            return false
        }
        transcript = []
        releaseOutbound(now: now, &output)
        return true
    }

    /// What `body`, a public-key operation, returns or throws. The other workers need not wait for it.
    private func aside<Value>(
        _ body: () throws(KeyExchangeError) -> Value
    ) throws(KeyExchangeError) -> Value {
        var result: Result<Value, KeyExchangeError> = .failure(.badPublicKey)
        host.aside {
            do throws(KeyExchangeError) { result = .success(try body()) } catch { result = .failure(error) }
        }
        return try result.get()
    }

    private func countOrigin() {
        switch origin {
        case .fresh: host.counters.freshHandshakes += 1
        case .resumed: host.counters.resumptions += 1
        case .join: host.counters.joins += 1
        case nil: break
        }
    }

    /// The peer holds the secret of this join or resumption: it counts from here on.
    func secretProven(_ output: inout Output) {
        proofOwed = nil
        becomeProven()
        countOrigin()
        output.actions.append(.log(.encrypted(tuple, origin ?? .fresh)))
        guard let chain = isJoin ? mptcp?.sessionChain : sessionChain else { return }
        if isOpener {
            host.sessions.noteSuccess(of: chain, at: tuple.remote)
        } else {
            host.sessions.learn(tuple.remote.address, for: chain)
        }
    }

    /// Notes the keys that an option of the handshake shows (RFC 8684 section 3.1).
    func learnKeys(_ option: MPTCPOption?, from direction: Direction, _ output: inout Output) {
        guard let mptcp, lacksKeys else { return }
        let key: UInt64
        switch option {
        // What a peer says our key is counts for nothing.
        case .capableSYNACK(let sender), .capableACK(let sender, _): key = sender
        default: return
        }
        host.tracker.learn(key, of: direction, for: mptcp, crypto: host.crypto)
        noteKeys()
        linkJoinChains(&output)
    }

    /// Those of a connection that is joined are known.
    func noteKeys() { lacksKeys = !isJoin && mptcp.map { $0.keys == nil } ?? false }

    /// Once the first subflow has both its secret and its tokens, the connection has its join chains. Nobody needs the
    /// secret then.
    private func linkJoinChains(_ output: inout Output) {
        guard let mptcp, !isJoin, mptcp.openingChain == nil else {
            secret = nil
            return
        }
        guard let secret, let keys = mptcp.keys else { return }
        self.secret = nil
        mptcp.sessionChain = sessionChain
        mptcp.deriveJoinChains(from: secret, crypto: host.crypto)
        output.actions.append(.journalAdd(CondemnedFlow(tuple: tuple, keys: keys)))
    }

    /// Remembers the flow across a crash, before the first byte that could be ciphertext.
    func enterJournal(_ output: inout Output) {
        isJournaled = true
        output.actions.append(.journalAdd(CondemnedFlow(tuple: tuple, keys: mptcp?.keys)))
    }
}

extension MPTCPConnection {
    /// Both keys, once both are known.
    var keys: MPTCPKeys? {
        guard let localKey, let remoteKey else { return nil }
        return MPTCPKeys(local: localKey, remote: remoteKey)
    }
}

extension Instant {
    /// The one of two that comes first, where there is one.
    static func earlier(_ a: Instant?, _ b: Instant?) -> Instant? {
        guard let a, let b else { return a ?? b }
        return min(a, b)
    }

    var milliseconds: Int64 { nanoseconds / 1_000_000 }
}
