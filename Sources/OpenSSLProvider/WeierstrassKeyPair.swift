import CCrypto
import Tcpcrypt

/// P-256 or P-521 with ECSVDP-DH: compressed points with a two-byte length in front, the shared secret is the x
/// coordinate (RFC 8548 section 5).
@safe
final class WeierstrassKeyPair: EphemeralKeyPair {
    struct Curve {
        let identifier: Int32
        /// Bytes of a field element.
        let length: Int
        /// The bits of a scalar's first byte.
        let mask: UInt8

        static let p256 = Curve(identifier: NID_X9_62_prime256v1, length: 32, mask: 0xff)
        static let p521 = Curve(identifier: NID_secp521r1, length: 66, mask: 0x01)

        var pointLength: Int { length + 1 }
    }

    let publicKey: [UInt8]
    private let curve: Curve
    private let group: OpaquePointer?
    private let scalar: OpaquePointer?

    init(_ curve: Curve, _ random: any RandomSource) {
        self.curve = curve
        unsafe group = EC_GROUP_new_by_curve_name(curve.identifier)
        unsafe scalar = Self.scalar(curve, group, random)
        let point = unsafe Self.publicPoint(curve, group, scalar)
        publicKey = [0, UInt8(truncatingIfNeeded: curve.pointLength)] + point
    }

    deinit {
        unsafe BN_clear_free(scalar)
        unsafe EC_GROUP_free(group)
    }

    func agree(with peerKey: Span<UInt8>) -> Secret? {
        guard unsafe group != nil && scalar != nil, peerKey.count == 2 + curve.pointLength, peerKey[0] == 0,
            Int(peerKey[1]) == curve.pointLength, peerKey[2] == 2 || peerKey[2] == 3
        else { return nil }
        defer { ERR_clear_error() }
        guard let shared = unsafe EC_POINT_new(group) else { return nil }
        defer { unsafe EC_POINT_clear_free(shared) }
        guard unsafe multiply(peerKey.extracting(2..<peerKey.count), into: shared) else { return nil }
        return unsafe xCoordinate(of: shared)
    }

    /// Decodes and validates the peer's point (IEEE 1363 A.16.10; the cofactor is 1) and multiplies it by ours.
    private func multiply(_ encoded: Span<UInt8>, into shared: OpaquePointer) -> Bool {
        guard let peer = unsafe EC_POINT_new(group) else { return false }
        defer { unsafe EC_POINT_free(peer) }
        let isDecoded = unsafe encoded.withUnsafeBufferPointer {
            unsafe EC_POINT_oct2point(group, peer, $0.baseAddress, $0.count, nil) == 1
        }
        return unsafe isDecoded && EC_POINT_is_at_infinity(group, peer) == 0
            && EC_POINT_is_on_curve(group, peer, nil) == 1
            && EC_POINT_mul(group, shared, nil, peer, scalar, nil) == 1
            && EC_POINT_is_at_infinity(group, shared) == 0
    }

    private func xCoordinate(of point: OpaquePointer) -> Secret? {
        guard let x = unsafe BN_new() else { return nil }
        defer { unsafe BN_clear_free(x) }
        guard unsafe EC_POINT_get_affine_coordinates(group, point, x, nil, nil) == 1 else { return nil }
        var done = false
        let secret = Secret(count: curve.length) { output in
            done = unsafe output.withUnsafeMutableBufferPointer {
                unsafe BN_bn2binpad(x, $0.baseAddress, Int32($0.count)) == Int32($0.count)
            }
        }
        return done ? secret : nil
    }

    // MARK: Making the pair

    /// A uniform scalar in 1..<order, by rejection; nil where a random source never gives one.
    private static func scalar(
        _ curve: Curve, _ group: OpaquePointer?, _ random: any RandomSource
    ) -> OpaquePointer? {
        guard unsafe group != nil, let order = unsafe EC_GROUP_get0_order(group) else { return nil }
        for _ in 0..<128 {
            var bytes = random.bytes(curve.length)
            if !bytes.isEmpty { bytes[0] &= curve.mask }
            let candidate = unsafe BN_bin2bn(bytes, Int32(bytes.count), nil)
            unsafe OPENSSL_cleanse(&bytes, bytes.count)
            guard let candidate = unsafe candidate else { return nil }
            if unsafe BN_is_zero(candidate) == 0 && BN_cmp(candidate, order) < 0 {
                unsafe BN_set_flags(candidate, BN_FLG_CONSTTIME)
                return unsafe candidate
            }
            unsafe BN_clear_free(candidate)
        }
        return nil
    }

    /// The compressed public point; zeros, which every peer refuses, where there is no key.
    private static func publicPoint(
        _ curve: Curve, _ group: OpaquePointer?, _ scalar: OpaquePointer?
    ) -> [UInt8] {
        var encoded = [UInt8](repeating: 0, count: curve.pointLength)
        guard unsafe scalar != nil, let point = unsafe EC_POINT_new(group) else { return encoded }
        defer { unsafe EC_POINT_free(point) }
        guard unsafe EC_POINT_mul(group, point, scalar, nil, nil, nil) == 1 else { return encoded }
        _ = unsafe EC_POINT_point2oct(
            group, point, POINT_CONVERSION_COMPRESSED, &encoded, encoded.count, nil)
        return encoded
    }
}
