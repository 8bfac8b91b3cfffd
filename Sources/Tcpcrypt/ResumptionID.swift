import PacketWire

/// Half of a resumption identifier: 9 bytes that name a session secret (RFC 8548 section 3.5).
public struct HalfID: Hashable, Sendable {
    public static let length = 9
    private let high: UInt64
    private let low: UInt8

    /// - Parameter bytes: exactly 9.
    public init?(_ bytes: Span<UInt8>) {
        guard bytes.count == Self.length else { return nil }
        self.init(loading: bytes, at: 0)
    }

    /// The caller has checked the length.
    init(loading bytes: Span<UInt8>, at index: Int) {
        high = bytes.loadUInt64(at: index)
        low = bytes[index + 8]
    }

    public var bytes: [UInt8] {
        (0..<8).map { UInt8(truncatingIfNeeded: high >> (56 - 8 * UInt64($0))) } + [low]
    }
}

/// resume[i]: 18 bytes, the first half sent by the host that was A in the original session, the second by B.
public struct ResumptionID: Hashable, Sendable {
    public let a: HalfID
    public let b: HalfID

    /// The half that a host with `role` in the original session sends.
    public func half(sentBy role: Role) -> HalfID { role == .a ? a : b }
}

/// One session secret ss[i] (or join secret J[i]) with its name.
public struct ChainEntry {
    public let index: Int
    public let secret: Secret
    public let id: ResumptionID
}
