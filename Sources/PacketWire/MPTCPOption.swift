/// The MPTCP options that tell which subflow belongs to which connection (RFC 8684, version 1).
///
/// All others ride through untouched and are ``other``.
public enum MPTCPOption: Sendable, Hashable {
    /// On a SYN: 4 bytes, no key.
    case capableSYN
    /// On a SYN-ACK: the sender's key.
    case capableSYNACK(senderKey: UInt64)
    /// On a third ACK or the first data: both keys.
    case capableACK(senderKey: UInt64, receiverKey: UInt64)
    /// On a SYN: the receiver's token and the sender's random number.
    case joinSYN(token: UInt32, random: UInt32)
    /// On a SYN-ACK: the sender's random number.
    case joinSYNACK(random: UInt32)
    /// On a third ACK: an HMAC over both random numbers.
    case joinACK
    case dss
    case fastClose(receiverKey: UInt64)
    case other

    /// - Parameters:
    ///   - option: one option, kind and length byte included.
    ///   - isSYN: MP_CAPABLE and MP_JOIN change their shape from segment to segment.
    public init?(_ option: Span<UInt8>, isSYN: Bool) {
        guard option.count >= 4, option[0] == TCPOptionKind.mptcp else { return nil }
        let version = option[2] & 0xf
        switch (option[2] >> 4, option.count, isSYN) {
        // A SYN may offer a later version; what follows speaks the one agreed on (RFC 8684 section 3.1).
        case (0, 4, true) where version >= 1: self = .capableSYN
        case (0, 12, true) where version == 1: self = .capableSYNACK(senderKey: option.loadUInt64(at: 4))
        case (0, 20, false) where version == 1, (0, 22, false) where version == 1, (0, 24, false) where version == 1:
            self = .capableACK(senderKey: option.loadUInt64(at: 4), receiverKey: option.loadUInt64(at: 12))
        case (1, 12, true): self = .joinSYN(token: option.loadUInt32(at: 4), random: option.loadUInt32(at: 8))
        case (1, 16, true): self = .joinSYNACK(random: option.loadUInt32(at: 12))
        case (1, 24, false): self = .joinACK
        case (2, _, _): self = .dss
        case (7, 12, _): self = .fastClose(receiverKey: option.loadUInt64(at: 4))
        default: self = .other
        }
    }
}

extension MPTCPOption {
    /// How much the option says about the segment it stands in.
    fileprivate var weight: Int {
        switch self {
        case .joinSYN: 3
        case .joinSYNACK, .joinACK: 2
        case .capableSYN, .capableSYNACK, .capableACK: 1
        case .dss, .fastClose, .other: 0
        }
    }
}

extension TCPOptions {
    /// The MPTCP option that decides what a segment is: an MP_JOIN before an MP_CAPABLE before any other.
    ///
    /// As Linux sees it: a join by its length alone, also where a SYN holds one of another shape as well, and of
    /// several tokens the last. Otherwise a SYN could be judged as one thing and accepted as another.
    public func mptcpOption(isSYN: Bool) -> MPTCPOption? {
        var found: MPTCPOption?
        var index = 0
        while let range = next(TCPOptionKind.mptcp, from: &index) {
            guard let option = MPTCPOption(span.extracting(range), isSYN: isSYN) else { continue }
            if option.weight > 0 ? option.weight >= found?.weight ?? 0 : found == nil { found = option }
        }
        return found
    }

    /// The token of the connection that a SYN asks to join; nil where it is no join.
    public var joinToken: UInt32? {
        guard case .joinSYN(let token, _) = mptcpOption(isSYN: true) else { return nil }
        return token
    }

    /// Whether a SYN may be an MP_JOIN to anyone: any MPTCP option of that subtype, whatever its length.
    public var mayBeJoin: Bool {
        var index = 0
        while let range = next(TCPOptionKind.mptcp, from: &index) {
            if range.count >= 3, span[range.lowerBound + 2] >> 4 == 1 { return true }
        }
        return false
    }

    /// An MP_CAPABLE with data (22 or 24 bytes) becomes one without (20): for a segment whose data is held back.
    public mutating func dropMPTCPDataLength() {
        for range in ranges(of: TCPOptionKind.mptcp)
        where (range.count == 22 || range.count == 24) && span[range.lowerBound + 2] >> 4 == 0 {
            remove(range.lowerBound + 20..<range.upperBound)
            set(20, at: range.lowerBound + 1)
            return
        }
    }
}
