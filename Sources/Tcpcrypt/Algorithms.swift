/// The tcpcrypt key-agreement schemes, by TCP-ENO identifier (RFC 8548 section 7, table 4), and our own.
public enum TEP: UInt8, CaseIterable, Hashable, Sendable {
    /// Curve25519, with frames that carry MPTCP's signalling (see the article ProtectedSignalling). The identifier is the one for
    /// experiments (RFC 8547 section 11).
    case curve25519MPTCP = 0x20
    case p256 = 0x21
    case p521 = 0x22
    case curve25519 = 0x23
    case curve448 = 0x24

    /// The name in IANA's registry; that of our own in the same style.
    public var name: String {
        switch self {
        case .curve25519MPTCP: "TCPCRYPT_ECDHE_Curve25519_MPTCP"
        case .p256: "TCPCRYPT_ECDHE_P256"
        case .p521: "TCPCRYPT_ECDHE_P521"
        case .curve25519: "TCPCRYPT_ECDHE_Curve25519"
        case .curve448: "TCPCRYPT_ECDHE_Curve448"
        }
    }

    /// Bytes of a public key as Init1 and Init2 carry it. For the NIST curves that is a compressed point and its
    /// two-byte length (RFC 8548 section 5).
    public var publicKeyLength: Int {
        switch self {
        case .p256: 2 + 33
        case .p521: 2 + 67
        case .curve25519, .curve25519MPTCP: 32
        case .curve448: 56
        }
    }

    /// Whether frames may carry signals, and resets are signed (ProtectedSignalling).
    public var protectsSignals: Bool { self == .curve25519MPTCP }

    /// N_A_LEN and N_B_LEN in bytes (RFC 8548 section 5).
    public var nonceLength: Int { 32 }

    /// K_LEN in bytes: session secrets, master keys, the hash in a session ID (RFC 8548 section 5).
    public var secretLength: Int { 32 }
}

/// The algorithms that protect frames, by sym_cipher identifier (RFC 8548 section 7, table 5).
public enum AEADAlgorithm: UInt16, CaseIterable, Hashable, Sendable {
    case aes128GCM = 0x0001
    case aes256GCM = 0x0002
    case chacha20Poly1305 = 0x0010

    /// The name in IANA's registry.
    public var name: String {
        switch self {
        case .aes128GCM: "AEAD_AES_128_GCM"
        case .aes256GCM: "AEAD_AES_256_GCM"
        case .chacha20Poly1305: "AEAD_CHACHA20_POLY1305"
        }
    }

    /// ae_key_len in bytes (RFC 8548 section 6).
    public var keyLength: Int { self == .aes128GCM ? 16 : 32 }

    /// ae_nonce_len in bytes, the same for all of them.
    public var nonceLength: Int { Self.nonceLength }

    /// How much longer the ciphertext is than the plaintext, in bytes.
    public var tagLength: Int { Self.tagLength }

    static let nonceLength = 12
    static let tagLength = 16
}

/// Which end of a connection a host is (RFC 8547 section 4.3): A has b = 0, B has b = 1.
public enum Role: String, CaseIterable, Hashable, Sendable {
    case a = "A"
    case b = "B"

    public var other: Role { self == .a ? .b : .a }
}
