import CCrypto

/// One run of libcrypto's HKDF with SHA-256, in one of its halves.
enum HKDF {
    enum Half {
        case extract
        case expand

        var mode: Int32 { self == .extract ? EVP_KDF_HKDF_MODE_EXTRACT_ONLY : EVP_KDF_HKDF_MODE_EXPAND_ONLY }
        /// What the second input is called.
        var text: StaticString { self == .extract ? "salt" : "info" }
    }

    /// - Parameters:
    ///   - algorithm: an EVP_KDF.
    ///   - key: input keying material, or the pseudo-random key.
    ///   - text: salt or info.
    /// - Returns: false where libcrypto failed.
    static func derive(
        _ algorithm: OpaquePointer, _ half: Half, key: Span<UInt8>, _ text: Span<UInt8>,
        into output: UnsafeMutableBufferPointer<UInt8>
    ) -> Bool {
        guard let context = unsafe EVP_KDF_CTX_new(algorithm) else { return false }
        defer { unsafe EVP_KDF_CTX_free(context) }
        var mode = half.mode
        return unsafe key.withUnsafeBufferPointer { key in
            unsafe text.withUnsafeBufferPointer { text in
                unsafe withUnsafeMutablePointer(to: &mode) { mode in
                    var parameters = unsafe [
                        OSSL_PARAM_construct_int(name("mode"), mode),
                        OSSL_PARAM_construct_utf8_string(
                            name("digest"), UnsafeMutablePointer(mutating: name("SHA2-256")), 0),
                        octets("key", key),
                        octets(half.text, text),
                        OSSL_PARAM_construct_end(),
                    ]
                    return unsafe EVP_KDF_derive(context, output.baseAddress, output.count, &parameters) == 1
                }
            }
        }
    }

    /// libcrypto keeps pointers to names: they must be constants.
    private static func name(_ text: StaticString) -> UnsafePointer<CChar> {
        unsafe UnsafeRawPointer(text.utf8Start).assumingMemoryBound(to: CChar.self)
    }

    /// An input; libcrypto only reads it, whatever the type says.
    private static func octets(_ name: StaticString, _ bytes: UnsafeBufferPointer<UInt8>) -> OSSL_PARAM {
        unsafe OSSL_PARAM_construct_octet_string(
            Self.name(name), UnsafeMutableRawPointer(mutating: bytes.baseAddress ?? empty), bytes.count)
    }

    /// Where an input of no bytes points: libcrypto takes a null pointer for an absent one.
    private static var empty: UnsafePointer<UInt8> {
        let text: StaticString = " "
        return unsafe text.utf8Start
    }
}
