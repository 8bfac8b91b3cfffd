import CCrypto
import Tcpcrypt

/// One cipher context, keyed once and given a nonce per frame. libcrypto erases the key when it frees the context.
@safe
final class OpenSSLAEADKey: AEADKey {
    private let context: OpaquePointer?
    private let tagLength: Int

    /// - Parameter cipher: nil where libcrypto lacks the algorithm; the key then refuses everything.
    init(_ cipher: Handle?, _ algorithm: AEADAlgorithm, _ key: Secret) {
        tagLength = algorithm.tagLength
        guard let cipher, key.count == algorithm.keyLength, let fresh = unsafe EVP_CIPHER_CTX_new() else {
            unsafe context = nil
            return
        }
        let done = key.withBytes { bytes in
            unsafe bytes.withUnsafeBufferPointer { bytes in
                unsafe EVP_CipherInit_ex(fresh, cipher.pointer, nil, bytes.baseAddress, nil, 1)
            }
        }
        if done != 1 { unsafe EVP_CIPHER_CTX_free(fresh) }
        unsafe context = done == 1 ? fresh : nil
    }

    deinit { unsafe EVP_CIPHER_CTX_free(context) }

    func seal(
        nonce: Span<UInt8>, aad: Span<UInt8>, head: Span<UInt8>, plaintext: Span<UInt8>,
        into output: inout MutableSpan<UInt8>
    ) -> Bool {
        let length = head.count + plaintext.count
        guard output.count >= length + tagLength, begin(nonce, aad, sealing: true) else { return false }
        return unsafe output.withUnsafeMutableBufferPointer { target in
            guard let start = target.baseAddress else { return false }
            return unsafe update(head, into: start)
                && update(plaintext, into: start + head.count)
                && finish(at: start + length)
                && EVP_CIPHER_CTX_ctrl(
                    context, EVP_CTRL_AEAD_GET_TAG, Int32(tagLength), start + length) == 1
        }
    }

    func open(
        nonce: Span<UInt8>, aad: Span<UInt8>, ciphertext: Span<UInt8>, head: inout MutableSpan<UInt8>,
        into output: inout MutableSpan<UInt8>
    ) -> Bool {
        let length = ciphertext.count - tagLength
        let split = head.count
        guard split <= length, output.count >= length - split, begin(nonce, aad, sealing: false) else {
            return false
        }
        let done =
            decrypt(ciphertext.extracting(0..<split), into: &head)
            && decrypt(ciphertext.extracting(split..<length), into: &output)
            && verify(ciphertext.extracting(length..<ciphertext.count))
        if !done {
            wipe(&head)
            wipe(&output)
            ERR_clear_error()
        }
        return done
    }

    /// Sets nonce and associated data.
    private func begin(_ nonce: Span<UInt8>, _ aad: Span<UInt8>, sealing: Bool) -> Bool {
        guard unsafe context != nil, nonce.count == AEADAlgorithm.aes128GCM.nonceLength else { return false }
        let isSet = unsafe nonce.withUnsafeBufferPointer {
            unsafe EVP_CipherInit_ex(context, nil, nil, nil, $0.baseAddress, sealing ? 1 : 0) == 1
        }
        return unsafe isSet && update(aad, into: nil)
    }

    private func decrypt(_ ciphertext: Span<UInt8>, into output: inout MutableSpan<UInt8>) -> Bool {
        unsafe output.withUnsafeMutableBufferPointer { target in
            unsafe update(ciphertext, into: target.baseAddress)
        }
    }

    private func verify(_ tag: Span<UInt8>) -> Bool {
        var unused: UInt8 = 0
        let isSet = unsafe tag.withUnsafeBufferPointer { tag in
            // libcrypto only reads the tag here.
            unsafe EVP_CIPHER_CTX_ctrl(
                context, EVP_CTRL_AEAD_SET_TAG, Int32(tag.count), UnsafeMutableRawPointer(mutating: tag.baseAddress))
        }
        return unsafe isSet == 1 && finish(at: &unused)
    }

    /// Feeds input; without a target it is associated data.
    private func update(_ input: Span<UInt8>, into target: UnsafeMutablePointer<UInt8>?) -> Bool {
        guard !input.isEmpty else { return true }
        var written: Int32 = 0
        return unsafe input.withUnsafeBufferPointer {
            unsafe EVP_CipherUpdate(context, target, &written, $0.baseAddress, Int32($0.count)) == 1
        }
    }

    private func finish(at target: UnsafeMutablePointer<UInt8>) -> Bool {
        var written: Int32 = 0
        return unsafe EVP_CipherFinal_ex(context, target, &written) == 1
    }
}
