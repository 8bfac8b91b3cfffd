import CCrypto
public import Tcpcrypt

/// The algorithms of tcpcrypt from OpenSSL's libcrypto (3.0 or later). May be shared between threads.
public final class OpenSSLProvider: CryptoProvider, Sendable {
    private let hkdf: Handle
    private let digest: Handle
    private let ciphers: [AEADAlgorithm: Handle]

    /// Looks the algorithms up. A libcrypto without SHA-256 or HKDF is a broken installation and stops the
    /// program here, before it has promised anything to anyone.
    public init() {
        guard let hkdf = unsafe Handle(EVP_KDF_fetch(nil, "HKDF", nil), free: { unsafe EVP_KDF_free($0) }),
            let digest = unsafe Handle(EVP_MD_fetch(nil, "SHA2-256", nil), free: { unsafe EVP_MD_free($0) })
        else { preconditionFailure("libcrypto has no HKDF or no SHA-256") }
        self.hkdf = hkdf
        self.digest = digest
        var ciphers: [AEADAlgorithm: Handle] = [:]
        for algorithm in AEADAlgorithm.allCases {
            ciphers[algorithm] = unsafe Handle(
                EVP_CIPHER_fetch(nil, algorithm.libraryName, nil), free: { unsafe EVP_CIPHER_free($0) })
        }
        self.ciphers = ciphers
    }

    /// What this libcrypto has, in the order of ``AEADAlgorithm/allCases``: do not offer anything else.
    public var aeads: [AEADAlgorithm] { AEADAlgorithm.allCases.filter { ciphers[$0] != nil } }

    public func sha256(_ data: Span<UInt8>) -> [UInt8] {
        var result = [UInt8](repeating: 0, count: 32)
        let done = unsafe result.withUnsafeMutableBufferPointer { target in
            unsafe data.withUnsafeBufferPointer { source in
                unsafe EVP_Digest(
                    source.baseAddress, source.count, target.baseAddress, nil, digest.pointer, nil)
            }
        }
        guard done == 1 else { preconditionFailure("libcrypto cannot compute SHA-256") }
        return result
    }

    public func extract(salt: Span<UInt8>, _ material: Span<UInt8>) -> Secret {
        derive(.extract, key: material, salt, count: 32)
    }

    public func expand(_ key: Secret, info: Span<UInt8>, count: Int) -> Secret {
        key.withBytes { derive(.expand, key: $0, info, count: count) }
    }

    public func aead(_ algorithm: AEADAlgorithm, key: Secret) -> any AEADKey {
        OpenSSLAEADKey(ciphers[algorithm], algorithm, key)
    }

    public func keyPair(_ tep: TEP, _ random: any RandomSource) -> any EphemeralKeyPair {
        switch tep {
        case .curve25519: MontgomeryKeyPair(.x25519, random)
        case .curve448: MontgomeryKeyPair(.x448, random)
        case .p256: WeierstrassKeyPair(.p256, random)
        case .p521: WeierstrassKeyPair(.p521, random)
        }
    }

    /// HKDF in one of its halves; `text` is the salt or the info.
    ///
    /// Failure means that libcrypto has no memory left or is broken: there is no key to go on with.
    private func derive(_ half: HKDF.Half, key: Span<UInt8>, _ text: Span<UInt8>, count: Int) -> Secret {
        Secret(count: count) { output in
            let done = unsafe output.withUnsafeMutableBufferPointer { target in
                unsafe HKDF.derive(hkdf.pointer, half, key: key, text, into: target)
            }
            guard done else { preconditionFailure("libcrypto cannot compute HKDF") }
        }
    }
}

extension AEADAlgorithm {
    fileprivate var libraryName: String {
        switch self {
        case .aes128GCM: "AES-128-GCM"
        case .aes256GCM: "AES-256-GCM"
        case .chacha20Poly1305: "ChaCha20-Poly1305"
        }
    }
}
