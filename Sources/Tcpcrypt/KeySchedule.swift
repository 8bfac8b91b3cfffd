/// Constants that keep the uses of one secret apart.
enum Constant {
    /// RFC 8548 section 4.3.
    static let nextKey: UInt8 = 0x01
    static let sessionID: UInt8 = 0x02
    static let rekey: UInt8 = 0x03
    static let keyA: UInt8 = 0x04
    static let keyB: UInt8 = 0x05
    static let resume: UInt8 = 0x06
    /// Ours: the head of a join chain (JoinChains).
    static let join: UInt8 = 0x10
}

extension CryptoProvider {
    /// CPRF(key, constant | context, count) of RFC 8548 section 3.1.
    func derive(_ constant: UInt8, from key: Secret, context: [UInt8] = [], count: Int = 32) -> Secret {
        let info = [constant] + context
        return expand(key, info: info.span, count: count)
    }

    /// The same where the result is no secret.
    func derivePublic(_ constant: UInt8, from key: Secret, context: [UInt8] = [], count: Int) -> [UInt8] {
        derive(constant, from: key, context: context, count: count).withBytes { bytes in
            bytes.indices.map { bytes[$0] }
        }
    }

    /// ss[i+1] from ss[i] (RFC 8548 section 3.3).
    func nextSecret(after secret: Secret) -> Secret { derive(Constant.nextKey, from: secret) }

    /// resume[i] (RFC 8548 section 3.5).
    func resumptionID(of secret: Secret) -> ResumptionID {
        derive(Constant.resume, from: secret, count: 18).withBytes { bytes in
            ResumptionID(a: HalfID(loading: bytes, at: 0), b: HalfID(loading: bytes, at: 9))
        }
    }
}
