import CCrypto
import Tcpcrypt

/// X25519 or X448 (RFC 8548 section 5, RFC 7748).
@safe
final class MontgomeryKeyPair: EphemeralKeyPair {
    struct Curve {
        let type: Int32
        /// Bytes of a private key, a public key, and a shared secret.
        let length: Int

        static let x25519 = Curve(type: EVP_PKEY_X25519, length: 32)
        static let x448 = Curve(type: EVP_PKEY_X448, length: 56)
    }

    let publicKey: [UInt8]
    private let curve: Curve
    private let key: OpaquePointer?

    init(_ curve: Curve, _ random: any RandomSource) {
        self.curve = curve
        var scalar = random.bytes(curve.length)
        unsafe key = unsafe EVP_PKEY_new_raw_private_key(curve.type, nil, &scalar, scalar.count)
        unsafe OPENSSL_cleanse(&scalar, scalar.count)
        var encoded = [UInt8](repeating: 0, count: curve.length)
        var length = curve.length
        // Without a key the public key stays all zeros, which every peer refuses.
        if unsafe key != nil { _ = unsafe EVP_PKEY_get_raw_public_key(key, &encoded, &length) }
        publicKey = encoded
    }

    deinit { unsafe EVP_PKEY_free(key) }

    func agree(with peerKey: Span<UInt8>) -> Secret? {
        guard unsafe key != nil, peerKey.count == curve.length else { return nil }
        let peer = unsafe peerKey.withUnsafeBufferPointer {
            unsafe EVP_PKEY_new_raw_public_key(curve.type, nil, $0.baseAddress, $0.count)
        }
        guard let peer = unsafe peer else { return nil }
        defer { unsafe EVP_PKEY_free(peer) }
        var done = false
        let secret = Secret(count: curve.length) { output in
            done = unsafe output.withUnsafeMutableBufferPointer { unsafe self.derive(peer, into: $0) }
        }
        let zero = Secret(count: curve.length) { _ in }
        return done && !secret.matches(zero) ? secret : nil
    }

    private func derive(_ peer: OpaquePointer, into output: UnsafeMutableBufferPointer<UInt8>) -> Bool {
        guard let context = unsafe EVP_PKEY_CTX_new(key, nil) else { return false }
        defer { unsafe EVP_PKEY_CTX_free(context) }
        var length = output.count
        let done =
            unsafe EVP_PKEY_derive_init(context) == 1
            && EVP_PKEY_derive_set_peer(context, peer) == 1
            && EVP_PKEY_derive(context, output.baseAddress, &length) == 1
        // What libcrypto refuses it also puts in a queue of this thread.
        if !done { ERR_clear_error() }
        return done && length == output.count
    }
}
