import PacketWire

/// Why a key exchange failed. Each aborts the connection with an error that is not end of file (RFC 8548 3.3).
public enum KeyExchangeError: Error, Hashable, Sendable {
    /// The peer's message is not an Init message, or its fields do not fit its length.
    case malformed
    /// The peer's public key fails validation (RFC 8548 section 5).
    case badPublicKey
    /// Nothing in host A's list is enabled here: nobody's fault.
    case noCommonAEAD
    /// Host B chose an algorithm that was not in our list.
    case unofferedAEAD
}

/// The first message of host A's stream (RFC 8548 section 4.1).
public struct Init1: Hashable, Sendable {
    /// Magic number and total length: what ``messageLength(prefix:)`` wants to see.
    public static let prefixLength = 8
    /// No message of the key exchange is longer.
    public static let maximumLength = InitHeader.maximumLength
    /// What the message begins with, big-endian (RFC 8548 section 4.1).
    public static let magic: UInt32 = 0x1510_1a0e
    /// sym_cipher_list as sent, unknown identifiers included.
    public let ciphers: [UInt16]
    /// N_A, 32 bytes.
    public let nonce: [UInt8]
    /// Pub_A in its wire form.
    public let publicKey: [UInt8]

    /// The length of the whole message in bytes, from its first bytes; nil where more of them are needed.
    /// - Throws: ``KeyExchangeError/malformed`` for a wrong magic number or an absurd length.
    public static func messageLength(prefix: Span<UInt8>) throws(KeyExchangeError) -> Int? {
        try InitHeader.messageLength(prefix, magic: magic, minimum: 9 + 32 + 32)
    }

    /// - Parameters:
    ///   - message: the whole message. Bytes behind the public key are ignored.
    ///   - tep: says how long nonce and public key are.
    public init(parsing message: Span<UInt8>, tep: TEP) throws(KeyExchangeError) {
        guard let length = try Self.messageLength(prefix: message), message.count >= length else { throw .malformed }
        let count = Int(message[8])
        let nonceStart = 9 + 2 * count
        let keyStart = nonceStart + tep.nonceLength
        let end = keyStart + tep.publicKeyLength
        guard end <= length else { throw .malformed }
        ciphers = (0..<count).map { message.loadUInt16(at: 9 + 2 * $0) }
        nonce = (nonceStart..<keyStart).map { message[$0] }
        publicKey = (keyStart..<end).map { message[$0] }
    }

    init(aeads: [AEADAlgorithm], nonce: [UInt8], publicKey: [UInt8]) {
        ciphers = aeads.prefix(255).map(\.rawValue)
        self.nonce = nonce
        self.publicKey = publicKey
    }

    func encoded() -> [UInt8] {
        let list = ciphers.flatMap { [UInt8($0 >> 8), UInt8($0 & 0xff)] }
        return InitHeader.message(
            Self.magic, [UInt8(truncatingIfNeeded: ciphers.count)] + list + nonce + publicKey)
    }
}

/// The first message of host B's stream (RFC 8548 section 4.1).
public struct Init2: Hashable, Sendable {
    static let magic: UInt32 = 0x0971_05e0
    /// sym_cipher, not necessarily one we know.
    public let cipher: UInt16
    /// N_B, 32 bytes.
    public let nonce: [UInt8]
    /// Pub_B in its wire form.
    public let publicKey: [UInt8]

    /// The length of the whole message in bytes, from its first bytes; nil where more of them are needed.
    /// - Throws: ``KeyExchangeError/malformed`` for a wrong magic number or an absurd length.
    public static func messageLength(prefix: Span<UInt8>) throws(KeyExchangeError) -> Int? {
        try InitHeader.messageLength(prefix, magic: magic, minimum: 10 + 32 + 32)
    }

    /// - Parameters:
    ///   - message: the whole message. Bytes behind the public key are ignored.
    ///   - tep: says how long nonce and public key are.
    public init(parsing message: Span<UInt8>, tep: TEP) throws(KeyExchangeError) {
        guard let length = try Self.messageLength(prefix: message), message.count >= length else { throw .malformed }
        let keyStart = 10 + tep.nonceLength
        let end = keyStart + tep.publicKeyLength
        guard end <= length else { throw .malformed }
        cipher = message.loadUInt16(at: 8)
        nonce = (10..<keyStart).map { message[$0] }
        publicKey = (keyStart..<end).map { message[$0] }
    }

    init(aead: AEADAlgorithm, nonce: [UInt8], publicKey: [UInt8]) {
        cipher = aead.rawValue
        self.nonce = nonce
        self.publicKey = publicKey
    }

    func encoded() -> [UInt8] {
        InitHeader.message(Self.magic, [UInt8(cipher >> 8), UInt8(cipher & 0xff)] + nonce + publicKey)
    }
}

/// The 8 bytes both messages begin with: magic number and total length.
enum InitHeader {
    /// More than this is no key exchange: the longest that has a meaning is 620 bytes, the rest "ignored".
    static let maximumLength = 16_384

    static func messageLength(
        _ prefix: Span<UInt8>, magic: UInt32, minimum: Int
    ) throws(KeyExchangeError) -> Int? {
        for index in 0..<min(4, prefix.count) {
            guard prefix[index] == UInt8(truncatingIfNeeded: magic >> (24 - 8 * UInt32(index))) else {
                throw .malformed
            }
        }
        guard prefix.count >= 8 else { return nil }
        let length = Int(prefix.loadUInt32(at: 4))
        guard (minimum...maximumLength).contains(length) else { throw .malformed }
        return length
    }

    static func message(_ magic: UInt32, _ body: [UInt8]) -> [UInt8] {
        let length = UInt32(truncatingIfNeeded: 8 + body.count)
        return [magic, length].flatMap { word in
            [24, 16, 8, 0].map { UInt8(truncatingIfNeeded: word >> $0) }
        } + body
    }
}
