/// The traffic key of one direction in one generation (RFC 8548 sections 3.3 and 3.6).
///
/// A class, for every frame names it: that counts one reference, not one for each of its parts.
final class TrafficKey {
    let generation: Int
    private let master: Secret
    private let sender: Role
    private let algorithm: AEADAlgorithm
    private let crypto: any CryptoProvider
    private let aead: any AEADKey
    /// NR
    private let randomizer: Secret

    /// - Parameters:
    ///   - master: mk[generation].
    ///   - sender: who encrypts with it, by the role in the original session.
    init(
        master: Secret, generation: Int, sender: Role, algorithm: AEADAlgorithm, crypto: any CryptoProvider
    ) {
        self.master = master
        self.generation = generation
        self.sender = sender
        self.algorithm = algorithm
        self.crypto = crypto
        let split = algorithm.keyLength
        let count = split + algorithm.nonceLength
        let key = crypto.derive(sender == .a ? Constant.keyA : Constant.keyB, from: master, count: count)
        aead = crypto.aead(algorithm, key: key.slice(0..<split))
        randomizer = key.slice(split..<count)
    }

    /// The key of the next generation.
    func next() -> TrafficKey {
        TrafficKey(
            master: crypto.derive(Constant.rekey, from: master), generation: generation + 1, sender: sender,
            algorithm: algorithm, crypto: crypto)
    }

    /// frame_ID XOR NR: the frame's offset in 8 bytes, zeros in front (RFC 8548 section 4.2.3).
    private func nonce(_ offset: UInt64) -> InlineArray<12, UInt8> {
        var nonce = InlineArray<12, UInt8>(repeating: 0)
        randomizer.withBytes { bytes in
            for index in 0..<4 { nonce[index] = bytes[index] }
            for index in 0..<8 {
                nonce[index + 4] = bytes[index + 4] ^ UInt8(truncatingIfNeeded: offset >> (56 - 8 * UInt64(index)))
            }
        }
        return nonce
    }

    func seal(
        offset: UInt64, aad: Span<UInt8>, head: Span<UInt8>, data: Span<UInt8>, into output: inout MutableSpan<UInt8>
    ) -> Bool {
        let nonce = nonce(offset)
        return aead.seal(nonce: nonce.span, aad: aad, head: head, plaintext: data, into: &output)
    }

    func open(
        offset: UInt64, aad: Span<UInt8>, ciphertext: Span<UInt8>, head: inout MutableSpan<UInt8>,
        into output: inout MutableSpan<UInt8>
    ) -> Bool {
        let nonce = nonce(offset)
        return aead.open(nonce: nonce.span, aad: aad, ciphertext: ciphertext, head: &head, into: &output)
    }
}
