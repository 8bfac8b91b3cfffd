/// A Data Sequence Signal taken apart: what it acknowledges, and what it says of the data (RFC 8684 section 3.3).
///
///     kind(1) length(1) subtype(4 bits) 000F mMaA | data ACK (4 or 8) | DSN (4 or 8) subflow sequence (4) length (2) [checksum (2)]
public struct DSSOption: Sendable {
    /// The data acknowledged: 64 bits, or the lower 32 of them.
    public enum Acknowledgment: Sendable, Hashable {
        case full(UInt64)
        case low(UInt32)

        /// All 64 bits, of what is not half the space of 32 bits away from `known`.
        public func expanded(near known: UInt64) -> UInt64 {
            switch self {
            case .full(let value): value
            case .low(let value):
                known &+ UInt64(bitPattern: Int64(Int32(bitPattern: value &- UInt32(truncatingIfNeeded: known))))
            }
        }
    }

    public let acknowledgment: Acknowledgment?
    /// The sender has no more data.
    public let isDataFIN: Bool
    /// Whether there is a mapping.
    public let hasMapping: Bool
    /// The mapping has length 0: what the sender sends is no longer mapped (RFC 8684 section 3.7).
    public let isInfinite: Bool
    /// Where the mapping stands in the option; empty where there is none.
    fileprivate let mapping: Range<Int>

    fileprivate static let dataFIN: UInt8 = 0x10
    fileprivate static let longSequence: UInt8 = 0x08
    fileprivate static let mappingPresent: UInt8 = 0x04
    fileprivate static let longAcknowledgment: UInt8 = 0x02
    fileprivate static let acknowledgmentPresent: UInt8 = 0x01
    fileprivate static let subtype: UInt8 = 0x20

    /// - Parameter option: one option, kind and length byte included; nil where it is no DSS, or its length is not the one that
    ///   its flags make.
    public init?(_ option: Span<UInt8>) {
        guard option.count >= 4, option[0] == TCPOptionKind.mptcp, option[2] & 0xf0 == Self.subtype else { return nil }
        let flags = option[3]
        var place = 4
        if flags & Self.acknowledgmentPresent != 0 { place += flags & Self.longAcknowledgment != 0 ? 8 : 4 }
        let start = place
        hasMapping = flags & Self.mappingPresent != 0
        if hasMapping {
            place += (flags & Self.longSequence != 0 ? 8 : 4) + 4 + 2
            if option.count == place + 2 { place += 2 }
        }
        guard option.count == place else { return nil }
        mapping = start..<place
        let lengthAt = start + (flags & Self.longSequence != 0 ? 8 : 4) + 4
        isInfinite = hasMapping && option.loadUInt16(at: lengthAt) == 0
        isDataFIN = flags & Self.dataFIN != 0
        if flags & Self.acknowledgmentPresent == 0 {
            acknowledgment = nil
        } else if flags & Self.longAcknowledgment != 0 {
            acknowledgment = .full(option.loadUInt64(at: 4))
        } else {
            acknowledgment = .low(option.loadUInt32(at: 4))
        }
    }
}

extension TCPOptions {
    /// Appends a DSS that says only that the data ends where the mapping of `other`, a DSS with DATA_FIN, does: one that needs no data.
    ///
    /// - Returns: false, and nothing appended, where `other` is no such, or there is no room.
    @discardableResult
    public mutating func appendDataFIN(of other: Span<UInt8>) -> Bool {
        guard let dss = DSSOption(other), dss.isDataFIN, dss.hasMapping else { return false }
        let isLong = other[3] & DSSOption.longSequence != 0
        let place = dss.mapping.lowerBound
        let length = UInt64(other.loadUInt16(at: place + (isLong ? 12 : 8)))
        let start = isLong ? other.loadUInt64(at: place) : UInt64(other.loadUInt32(at: place))
        // DATA_FIN is the last of the mapping's bytes.
        let end = start &+ max(1, length) &- 1
        let width = isLong ? 8 : 4
        var option = TCPOptions()
        let header: InlineArray<4, UInt8> = [
            TCPOptionKind.mptcp, UInt8(truncatingIfNeeded: 4 + width + 6), DSSOption.subtype,
            DSSOption.dataFIN | DSSOption.mappingPresent | (isLong ? DSSOption.longSequence : 0),
        ]
        option.append(header.span)
        var bytes = InlineArray<14, UInt8>(repeating: 0)
        for index in 0..<width {
            bytes[index] = UInt8(truncatingIfNeeded: end >> UInt64(8 * (width - 1 - index)))
        }
        bytes[width + 5] = 1
        option.append(bytes.span.extracting(0..<width + 6))
        return append(option.span)
    }

    /// Appends a DSS that says only that what follows is not mapped (RFC 8684 section 3.7).
    ///
    /// - Returns: false, and nothing appended, where there is no room.
    @discardableResult
    public mutating func appendInfiniteMapping() -> Bool {
        var option = InlineArray<14, UInt8>(repeating: 0)
        option[0] = TCPOptionKind.mptcp
        option[1] = 14
        option[2] = DSSOption.subtype
        option[3] = DSSOption.mappingPresent
        return append(option.span)
    }

    /// Appends a DSS that acknowledges `acknowledgment`, and says of the data what `other`, a whole DSS, does.
    ///
    /// - Returns: false, and nothing appended, where there is no room.
    @discardableResult
    public mutating func appendDSS(acknowledging acknowledgment: UInt64?, mappedAs other: Span<UInt8>? = nil) -> Bool {
        var flags = acknowledgment == nil ? 0 : DSSOption.acknowledgmentPresent | DSSOption.longAcknowledgment
        var option = TCPOptions()
        let header: InlineArray<4, UInt8> = [TCPOptionKind.mptcp, 4, DSSOption.subtype, 0]
        option.append(header.span)
        if let acknowledgment {
            var bytes = InlineArray<8, UInt8>(repeating: 0)
            for index in 0..<8 { bytes[index] = UInt8(truncatingIfNeeded: acknowledgment >> (56 - 8 * UInt64(index))) }
            option.append(bytes.span)
        }
        if let other, let old = DSSOption(other) {
            flags |= other[3] & (DSSOption.dataFIN | DSSOption.longSequence | DSSOption.mappingPresent)
            option.append(other.extracting(old.mapping))
        }
        option.set(flags, at: 3)
        option.set(UInt8(truncatingIfNeeded: option.count), at: 1)
        return append(option.span)
    }
}
