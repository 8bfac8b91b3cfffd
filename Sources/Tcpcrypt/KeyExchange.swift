/// Host A between Init1 and Init2 (RFC 8548 section 3.3). Its private key goes with its last copy.
public struct KeyExchangeA {
    /// The whole message; the segment with its last byte must have PSH set.
    public let init1: [UInt8]
    private let tep: TEP
    private let aeads: [AEADAlgorithm]
    private let transcript: [UInt8]
    private let crypto: any CryptoProvider
    private let nonce: [UInt8]
    private let pair: any EphemeralKeyPair

    /// Draws the nonce, then the key pair where none is given.
    /// - Parameters:
    ///   - tep: what was negotiated.
    ///   - aeads: what we accept.
    ///   - transcript: of the negotiation (RFC 8547 section 4.8).
    ///   - pair: a key pair that may serve other exchanges too.
    ///   - crypto: the algorithms.
    ///   - random: of the nonce and the private key.
    public init(
        tep: TEP, aeads: [AEADAlgorithm], transcript: [UInt8], pair given: (any EphemeralKeyPair)? = nil,
        crypto: any CryptoProvider, random: any RandomSource
    ) {
        nonce = random.bytes(tep.nonceLength)
        pair = given ?? crypto.keyPair(tep, random)
        init1 = Init1(aeads: aeads, nonce: nonce, publicKey: pair.publicKey).encoded()
        self.tep = tep
        self.aeads = aeads
        self.transcript = transcript
        self.crypto = crypto
    }

    /// Completes the exchange.
    /// - Parameter init2: the whole message; what lies behind its message_len is not read.
    public func finish(init2: Span<UInt8>) throws(KeyExchangeError) -> ConnectionSecret {
        let parsed = try Init2(parsing: init2, tep: tep)
        guard let aead = aeads.first(where: { $0.rawValue == parsed.cipher }) else { throw .unofferedAEAD }
        guard let shared = pair.agree(with: parsed.publicKey.span) else { throw .badPublicKey }
        let length = try Init2.messageLength(prefix: init2) ?? init2.count
        let secret = crypto.sessionSecret(
            salt: nonce, transcript, init1.span, init2.extracting(0..<length), shared)
        return ConnectionSecret(
            fresh: secret, tep: tep, aead: aead, role: .a, nonceA: nonce, nonceB: parsed.nonce)
    }
}

/// Host B (RFC 8548 section 3.3): Init2 at once, the public-key operation when there is time for it. Its private key goes with its last copy.
public struct KeyExchangeB {
    /// The whole message; the segment with its last byte must have PSH set.
    public let init2: [UInt8]
    private let tep: TEP
    private let aead: AEADAlgorithm
    private let transcript: [UInt8]
    private let crypto: any CryptoProvider
    private let pair: any EphemeralKeyPair
    private let init1: [UInt8]
    private let salt: [UInt8]
    private let nonce: [UInt8]
    private let peerKey: [UInt8]

    /// Answers Init1. Draws the nonce, then the key pair where none is given.
    /// - Parameters:
    ///   - init1: the whole message; what lies behind its message_len is not read.
    ///   - tep: what was negotiated.
    ///   - aeads: what we accept, most wanted first.
    ///   - transcript: of the negotiation (RFC 8547 section 4.8).
    ///   - pair: a key pair that may serve other exchanges too.
    ///   - crypto: the algorithms.
    ///   - random: of the nonce and the private key.
    public init(
        init1: Span<UInt8>, tep: TEP, aeads: [AEADAlgorithm], transcript: [UInt8],
        pair given: (any EphemeralKeyPair)? = nil, crypto: any CryptoProvider, random: any RandomSource
    ) throws(KeyExchangeError) {
        let parsed = try Init1(parsing: init1, tep: tep)
        guard let aead = aeads.first(where: { parsed.ciphers.contains($0.rawValue) }) else { throw .noCommonAEAD }
        nonce = random.bytes(tep.nonceLength)
        pair = given ?? crypto.keyPair(tep, random)
        init2 = Init2(aead: aead, nonce: nonce, publicKey: pair.publicKey).encoded()
        let length = try Init1.messageLength(prefix: init1) ?? init1.count
        self.init1 = (0..<length).map { init1[$0] }
        salt = parsed.nonce
        peerKey = parsed.publicKey
        self.aead = aead
        self.tep = tep
        self.transcript = transcript
        self.crypto = crypto
    }

    /// Completes the exchange: what both ends now share.
    public func finish() throws(KeyExchangeError) -> ConnectionSecret {
        guard let shared = pair.agree(with: peerKey.span) else { throw .badPublicKey }
        let secret = crypto.sessionSecret(salt: salt, transcript, init1.span, init2.span, shared)
        return ConnectionSecret(fresh: secret, tep: tep, aead: aead, role: .b, nonceA: salt, nonceB: nonce)
    }
}

extension CryptoProvider {
    /// PRK = Extract(N_A, eno_transcript | Init1 | Init2 | ES), which is ss[0].
    fileprivate func sessionSecret(
        salt: [UInt8], _ transcript: [UInt8], _ init1: Span<UInt8>, _ init2: Span<UInt8>, _ shared: Secret
    ) -> Secret {
        var material = transcript
        // No growth once the secret is in: that would leave a copy behind.
        material.reserveCapacity(transcript.count + init1.count + init2.count + shared.count)
        for index in init1.indices { material.append(init1[index]) }
        for index in init2.indices { material.append(init2[index]) }
        shared.withBytes { bytes in
            for index in bytes.indices { material.append(bytes[index]) }
        }
        let secret = extract(salt: salt.span, material.span)
        var used = material.mutableSpan
        wipe(&used)
        return secret
    }
}
