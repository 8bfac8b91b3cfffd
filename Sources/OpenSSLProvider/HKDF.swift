import CCrypto

/// One run of libcrypto's HKDF.
enum HKDF {
    /// - Parameters:
    ///   - algorithm: an EVP_KDF.
    ///   - name: of the parameter that `text` is.
    /// - Returns: false where libcrypto failed.
    static func derive(
        _ algorithm: OpaquePointer, _ mode: Int32, key: Span<UInt8>, _ name: String, _ text: Span<UInt8>,
        into output: UnsafeMutableBufferPointer<UInt8>
    ) -> Bool {
        guard let context = unsafe EVP_KDF_CTX_new(algorithm) else { return false }
        defer { unsafe EVP_KDF_CTX_free(context) }
        var mode = mode
        var digest = Array("SHA2-256".utf8CString)
        return unsafe key.withUnsafeBufferPointer { key in
            unsafe text.withUnsafeBufferPointer { text in
                unsafe digest.withUnsafeMutableBufferPointer { digest in
                    unsafe withUnsafeMutablePointer(to: &mode) { mode in
                        unsafe name.withCString { name in
                            // libcrypto reads from these pointers, however they are declared.
                            var parameters = unsafe [
                                OSSL_PARAM_construct_int(OSSL_KDF_PARAM_MODE, mode),
                                OSSL_PARAM_construct_utf8_string(OSSL_KDF_PARAM_DIGEST, digest.baseAddress, 0),
                                octets(OSSL_KDF_PARAM_KEY, key),
                                octets(name, text),
                                OSSL_PARAM_construct_end(),
                            ]
                            return unsafe EVP_KDF_derive(context, output.baseAddress, output.count, &parameters) == 1
                        }
                    }
                }
            }
        }
    }

    private static func octets(
        _ name: UnsafePointer<CChar>, _ bytes: UnsafeBufferPointer<UInt8>
    ) -> OSSL_PARAM {
        unsafe OSSL_PARAM_construct_octet_string(
            name, UnsafeMutableRawPointer(mutating: bytes.baseAddress), bytes.count)
    }
}
