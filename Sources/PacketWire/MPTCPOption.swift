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
        switch (option[2] >> 4, option.count, isSYN) {
        case (0, 4, true): self = .capableSYN
        case (0, 12, true): self = .capableSYNACK(senderKey: option.loadUInt64(at: 4))
        case (0, 20..., false):
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

extension TCPOptions {
    /// The MPTCP option that decides what a segment is, an MP_JOIN before any other.
    public func mptcpOption(isSYN: Bool) -> MPTCPOption? {
        var found: MPTCPOption?
        for range in ranges(of: TCPOptionKind.mptcp) {
            guard let option = MPTCPOption(span.extracting(range), isSYN: isSYN) else { continue }
            switch option {
            case .joinSYN, .joinSYNACK, .joinACK: return option
            case .capableSYN, .capableSYNACK, .capableACK: found = option
            default: found = found ?? option
            }
        }
        return found
    }

    /// Whether a SYN may be an MP_JOIN to anyone: any MPTCP option of that subtype, whatever its length.
    public var mayBeJoin: Bool {
        ranges(of: TCPOptionKind.mptcp).contains { $0.count >= 3 && span[$0.lowerBound + 2] >> 4 == 1 }
    }

    /// An MP_CAPABLE with data (22 or 24 bytes) becomes one without (20): for a segment whose data is held back.
    public mutating func dropMPTCPDataLength() {
        guard let range = range(of: TCPOptionKind.mptcp), range.count == 22 || range.count == 24,
            span[range.lowerBound + 2] >> 4 == 0
        else { return }
        var option = (0..<20).map { span[range.lowerBound + $0] }
        option[1] = 20
        replace(TCPOptionKind.mptcp, with: option.span)
    }
}
