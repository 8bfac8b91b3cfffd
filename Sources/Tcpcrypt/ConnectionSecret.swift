/// What one connection's keys come from: ss[i] or a join secret, and the session nonce (RFC 8548 section 3.3).
public struct ConnectionSecret {
    /// ss[i], or J[i] of a join chain.
    public let secret: Secret
    /// i: 0 after a key exchange.
    public let index: Int
    public let tep: TEP
    public let aead: AEADAlgorithm
    /// Our role in the original session: it decides which keys we encrypt with.
    public let keyRole: Role
    /// sn[i]: empty after a key exchange.
    public let sessionNonce: [UInt8]
    /// Whether the TEP was negotiated with v = 1.
    public let resumed: Bool
    /// Of use to a ``KeyLog`` only.
    let wireName: WireName

    init(fresh secret: Secret, tep: TEP, aead: AEADAlgorithm, role: Role, nonceA: [UInt8], nonceB: [UInt8]) {
        self.secret = secret
        index = 0
        self.tep = tep
        self.aead = aead
        keyRole = role
        sessionNonce = []
        resumed = false
        wireName = .exchange(a: nonceA, b: nonceB)
    }

    /// A resumed connection, or a join.
    /// - Parameters:
    ///   - entry: the secret both ends named.
    ///   - chain: where it is from.
    ///   - sessionNonce: nonce_a | nonce_b, by the roles in the original session (RFC 8548 section 3.5); see
    ///     ``sessionNonce(of:local:peer:)``. For a join, both MP_JOIN random numbers follow.
    public init(resuming entry: ChainEntry, of chain: SecretChain, sessionNonce: [UInt8]) {
        secret = entry.secret
        index = entry.index
        tep = chain.tep
        aead = chain.aead
        keyRole = chain.role
        self.sessionNonce = sessionNonce
        resumed = true
        wireName = .resumption(entry.id)
    }

    /// nonce_a | nonce_b of RFC 8548 section 3.5, in the order of the chain's roles.
    public static func sessionNonce(of chain: SecretChain, local: [UInt8], peer: [UInt8]) -> [UInt8] {
        chain.role == .a ? local + peer : peer + local
    }

    /// The session ID: the TEP byte with its v bit, and 32 bytes (RFC 8548 section 3.4).
    public func sessionID(_ crypto: any CryptoProvider) -> [UInt8] {
        let byte = resumed ? tep.rawValue | SYNFormENO.variable : tep.rawValue
        return [byte]
            + crypto.derivePublic(
                Constant.sessionID, from: secret, context: sessionNonce, count: tep.secretLength)
    }

    /// The two directions of the connection, at generation 0.
    ///
    /// To be called once per connection: a second sealer would use nonces again.
    public func streams(_ crypto: any CryptoProvider) -> (sealer: FrameSealer, opener: FrameOpener) {
        let master = masterKey(crypto)
        let key = { (sender: Role) in
            TrafficKey(master: master, generation: 0, sender: sender, algorithm: self.aead, crypto: crypto)
        }
        return (FrameSealer(key(keyRole)), FrameOpener(key(keyRole.other), readsSignals: tep.protectsSignals))
    }

    /// mk[0] (RFC 8548 section 3.3).
    func masterKey(_ crypto: any CryptoProvider) -> Secret {
        crypto.derive(Constant.rekey, from: secret, context: sessionNonce, count: tep.secretLength)
    }

    /// The secrets ss[index + 1] and on, for later connections between the same hosts (RFC 8548 section 3.5).
    ///
    /// Meant for a fresh connection, once: a resumed one's chain exists already, in the cache, and a second
    /// chain over the same secrets would hand them out twice.
    public func sessionChain(_ crypto: any CryptoProvider, lookAhead: Int) -> SecretChain {
        SecretChain(
            after: secret, index: index, tep: tep, aead: aead, role: keyRole, lookAhead: lookAhead, limit: .max,
            keepsNamed: true, crypto: crypto)
    }

    /// The secrets for the joins that one side opens (see the article JoinChains).
    /// - Parameters:
    ///   - crypto: what the chain will use.
    ///   - opener: the side whose joins the chain is for, A being the opener of the first subflow.
    ///   - localRole: which side this host is. It is the chain's role.
    ///   - tokenA: MPTCP token of the first subflow's opener (RFC 8684 section 3.2).
    ///   - tokenB: that of its acceptor.
    ///   - lookAhead: how many indices ahead of the last one named are recognised.
    ///   - limit: the last index that may be used.
    public func joinChain(
        _ crypto: any CryptoProvider, opener: Role, localRole: Role, tokenA: UInt32, tokenB: UInt32, lookAhead: Int,
        limit: Int
    ) -> SecretChain {
        let tokens = [tokenA, tokenB].flatMap { token in
            [24, 16, 8, 0].map { UInt8(truncatingIfNeeded: token >> $0) }
        }
        let context = Array(opener.rawValue.utf8) + tokens
        let head = crypto.derive(Constant.join, from: secret, context: context, count: tep.secretLength)
        return SecretChain(
            after: head, index: 0, tep: tep, aead: aead, role: localRole, lookAhead: lookAhead, limit: limit,
            keepsNamed: false, crypto: crypto)
    }
}
