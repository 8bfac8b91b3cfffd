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
        phase = .encrypted
        keyExchange = nil
        opening = nil
        accepting = nil
        if origin == .fresh, host.configuration.resumption {
            let chain = secret.sessionChain(crypto, lookAhead: SharedState.sessionLookAhead)
            sessionChain = chain
            host.sessions.store(chain, peer: tuple.remote.address, now: now.milliseconds)
        }
        becomeProven()
        countOrigin()
        linkJoinChains(&output)
        if !isJoin { output.actions.append(.log(.encrypted(tuple, origin ?? .fresh))) }
    }

    /// Takes Init1 or Init2, a whole message; false when it is no good, or comes too soon after too many others.
    func exchangeKeys(_ message: Span<UInt8>, _ now: Instant, _ output: inout Output) -> Bool {
        host.counters.publicKeyOperations += 1
        do throws(KeyExchangeError) {
            if isOpener {
                guard let exchange = keyExchange else { return false }
                let secret = try aside { () throws(KeyExchangeError) in try exchange.finish(init2: message) }
                receive.appendEngineOwned(message.count)
                install(secret, now: now, &output)
            } else {
                guard let tep, host.keyExchanges.admit(now) else { return false }
                let pair = host.keyPair(tep, now)
                let answer = try aside { () throws(KeyExchangeError) in
                    try KeyExchangeB.respond(
                        init1: message, tep: tep, aeads: host.configuration.aeads, transcript: transcript, pair: pair,
                        crypto: host.crypto, random: host.random)
                }
                receive.appendEngineOwned(message.count)
                send.append(answer.init2.span, kCount: 0, lead: answer.init2.count)
                install(answer.secret, now: now, &output)
                injectOwn(0..<answer.init2.count, flags: [.ack, .psh], options: ownOptions(now: now), &output)
                armEngineTimer(now)
            }
        } catch {
            abort(AbortReason(error), now: now, &output)
            return false
        }
        transcript = []
        // Init2 itself acknowledges Init1.
        ackOwed = isOpener
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
        case .join, nil: break
        }
    }

    /// The peer proved that it holds the secret of this join: it counts from here on.
    func joinProven(_ output: inout Output) {
        unprovenJoin = nil
        becomeProven()
        host.counters.joins += 1
        output.actions.append(.log(.encrypted(tuple, .join)))
        if let chain = mptcp?.sessionChain { host.sessions.learn(tuple.remote.address, for: chain) }
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
