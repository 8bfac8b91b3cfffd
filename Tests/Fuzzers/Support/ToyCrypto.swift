import Tcpcrypt

/// Quick and worthless as cryptography, faithful in shape: lengths, determinism, authentication that mostly fails for
/// what was changed, key agreement that agrees.
final class ToyCrypto: CryptoProvider {
    func sha256(_ data: Span<UInt8>) -> [UInt8] { stretch(digest(data, 1), 32) }

    func extract(salt: Span<UInt8>, _ material: Span<UInt8>) -> Secret {
        secret(digest(salt, 2) &* 31 &+ digest(material, 3), 32)
    }

    func expand(_ key: Secret, info: Span<UInt8>, count: Int) -> Secret {
        secret(key.withBytes { digest($0, 4) } &* 31 &+ digest(info, 5), count)
    }

    func aead(_ algorithm: AEADAlgorithm, key: Secret) -> any AEADKey { ToyKey(key.withBytes { digest($0, 6) }) }

    func keyPair(_ tep: TEP, _ random: any RandomSource) -> any EphemeralKeyPair {
        ToyPair(stretch(digest(random.bytes(32).span, 7), tep.publicKeyLength))
    }

    private func secret(_ seed: UInt64, _ count: Int) -> Secret {
        let bytes = stretch(seed, count)
        return Secret(copying: bytes.span)
    }
}

final class ToyKey: AEADKey {
    private let key: UInt64

    init(_ key: UInt64) { self.key = key }

    private func pad(_ stream: UInt64, _ index: Int) -> UInt8 {
        UInt8(truncatingIfNeeded: stream >> UInt64((index % 8) * 8)) ^ UInt8(truncatingIfNeeded: index)
    }

    private func tag(_ nonce: Span<UInt8>, _ aad: Span<UInt8>, _ ciphertext: Span<UInt8>) -> [UInt8] {
        stretch(key ^ digest(nonce, 9) ^ digest(aad, 10) &* 3 ^ digest(ciphertext, 11) &* 5, 16)
    }

    func seal(
        nonce: Span<UInt8>, aad: Span<UInt8>, head: Span<UInt8>, plaintext: Span<UInt8>,
        into output: inout MutableSpan<UInt8>
    ) -> Bool {
        let count = head.count + plaintext.count
        guard output.count >= count + 16 else { return false }
        let stream = key ^ digest(nonce, 8)
        for index in 0..<count {
            let plain = index < head.count ? head[index] : plaintext[index - head.count]
            output[index] = plain ^ pad(stream, index)
        }
        let tag = tag(nonce, aad, output.span.extracting(0..<count))
        for index in 0..<16 { output[count + index] = tag[index] }
        return true
    }

    func open(
        nonce: Span<UInt8>, aad: Span<UInt8>, ciphertext: Span<UInt8>, head: inout MutableSpan<UInt8>,
        into output: inout MutableSpan<UInt8>
    ) -> Bool {
        let count = ciphertext.count - 16
        guard count >= head.count, output.count >= count - head.count else { return false }
        let expected = tag(nonce, aad, ciphertext.extracting(0..<count))
        for index in 0..<16 where ciphertext[count + index] != expected[index] { return false }
        let stream = key ^ digest(nonce, 8)
        for index in 0..<count {
            let plain = ciphertext[index] ^ pad(stream, index)
            if index < head.count { head[index] = plain } else { output[index - head.count] = plain }
        }
        return true
    }
}

final class ToyPair: EphemeralKeyPair {
    let publicKey: [UInt8]

    init(_ publicKey: [UInt8]) { self.publicKey = publicKey }

    func agree(with peerKey: Span<UInt8>) -> Secret? {
        guard peerKey.count == publicKey.count, peerKey[0] != 0 else { return nil }
        let shared = (0..<32).map { publicKey[$0] ^ peerKey[$0] }
        return Secret(copying: shared.span)
    }
}

/// The same bytes in every run.
final class ToyRandom: RandomSource {
    private var state: UInt64

    init(_ seed: UInt64) { state = seed }

    func bytes(_ count: Int) -> [UInt8] {
        state = state &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
        return stretch(state, count)
    }
}

/// FNV-1a.
func digest(_ bytes: Span<UInt8>, _ domain: UInt64) -> UInt64 {
    var value: UInt64 = 0xcbf2_9ce4_8422_2325 ^ domain
    for index in bytes.indices { value = (value ^ UInt64(bytes[index])) &* 0x0000_0100_0000_01b3 }
    return value
}

/// splitmix64.
func stretch(_ seed: UInt64, _ count: Int) -> [UInt8] {
    (0..<count).map { index in
        var value = seed &+ UInt64(index / 8 + 1) &* 0x9e37_79b9_7f4a_7c15
        value = (value ^ value >> 30) &* 0xbf58_476d_1ce4_e5b9
        value = (value ^ value >> 27) &* 0x94d0_49bb_1331_11eb
        return UInt8(truncatingIfNeeded: (value ^ value >> 31) >> UInt64(index % 8 * 8))
    }
}
