import CCrypto
public import Tcpcrypt

/// The algorithms of tcpcrypt from OpenSSL's libcrypto (3.0 or later). May be shared between threads.
public final class OpenSSLProvider: CryptoProvider, Sendable {
    private let digest: Handle
    private let ciphers: [AEADAlgorithm: Handle]

    /// Looks the algorithms up. A libcrypto without SHA-256 is a broken installation and stops the program here,
    /// before it has promised anything to anyone.
    public init() {
        guard let digest = unsafe Handle(EVP_MD_fetch(nil, "SHA2-256", nil), free: { unsafe EVP_MD_free($0) })
        else { preconditionFailure("libcrypto has no SHA-256") }
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
        var result = [UInt8](repeating: 0, count: DigestRun.length)
        var target = result.mutableSpan
        var run = DigestRun(digest)
        run.start()
        run.update(data)
        run.finish(into: &target)
        Self.check(run)
        return result
    }

    public func extract(salt: Span<UInt8>, _ material: Span<UInt8>) -> Secret {
        Secret(count: DigestRun.length) { output in
            let nothing = InlineArray<0, UInt8>(repeating: 0)
            var run = DigestRun(digest)
            run.authenticate(key: salt, material, nothing.span, nothing.span, into: &output)
            Self.check(run)
        }
    }

    /// T(1) | T(2) | ... with T(n) = HMAC(key, T(n-1) | info | n), cut to `count` (RFC 5869 section 2.3).
    public func expand(_ key: Secret, info: Span<UInt8>, count: Int) -> Secret {
        Secret(count: count) { output in
            var run = DigestRun(digest)
            var block = InlineArray<32, UInt8>(repeating: 0)
            var done = 0
            while done < count {
                do {
                    let number: InlineArray<1, UInt8> = [UInt8(truncatingIfNeeded: done / DigestRun.length + 1)]
                    let last = output.span.extracting(max(0, done - DigestRun.length)..<done)
                    var target = block.mutableSpan
                    key.withBytes { run.authenticate(key: $0, last, info, number.span, into: &target) }
                }
                for index in 0..<min(DigestRun.length, count - done) { output[done + index] = block[index] }
                done += DigestRun.length
            }
            Self.check(run)
            Self.erase(&block)
        }
    }

    public func aead(_ algorithm: AEADAlgorithm, key: Secret) -> any AEADKey {
        OpenSSLAEADKey(ciphers[algorithm], algorithm, key)
    }

    public func keyPair(_ tep: TEP, _ random: any RandomSource) -> any EphemeralKeyPair {
        switch tep {
        case .curve25519, .curve25519MPTCP: MontgomeryKeyPair(.x25519, random)
        case .curve448: MontgomeryKeyPair(.x448, random)
        case .p256: WeierstrassKeyPair(.p256, random)
        case .p521: WeierstrassKeyPair(.p521, random)
        }
    }

    /// Failure means that libcrypto has no memory left or is broken: there is no key to go on with.
    private static func check(_ run: borrowing DigestRun) {
        guard run.isSound else { preconditionFailure("libcrypto cannot compute SHA-256") }
    }

    private static func erase(_ block: inout InlineArray<32, UInt8>) {
        var span = block.mutableSpan
        DigestRun.erase(&span)
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
