import PacketWire

/// The shape of an encryption frame (RFC 8548 section 4.2), lengths in bytes:
///
///     control(1) clen(2) | encrypted: flags(1) [urgent(2)] data | tag(16)
///
/// Where the TEP says so (``TEP/protectsSignals``), the upper seven bits of control, which RFC 8548 reserves, are the length of
/// signals that stand between flags and urgent field (see the article ProtectedSignalling).
public enum Frame {
    /// What travels in clear and tells the length of the rest: control and clen.
    public static let controlLength = 3
    /// What a frame adds to its data; two more with an urgent field.
    public static let overhead = controlLength + flagsLength + AEADAlgorithm.tagLength
    /// The most data that fits any frame, urgent or not: the ciphertext is shorter than 2^16.
    public static let maximumData = 65_535 - AEADAlgorithm.tagLength - flagsLength - urgentLength

    static let flagsLength = 1
    static let urgentLength = 2
    /// The most bytes of signals: as much as one TCP header has of options.
    public static let maximumSignals = TCPOptions.capacity

    static let rekeyBit: UInt8 = 0x01
    static let finBit: UInt8 = 0x01
    static let urgentBit: UInt8 = 0x02

    /// The whole frame for `data` bytes.
    public static func length(data: Int, urgent: Bool, signals: Int = 0) -> Int {
        data + overhead + (urgent ? urgentLength : 0) + signals
    }

    /// What stands in front of the data in a frame.
    public static func lead(urgent: Bool, signals: Int) -> Int {
        controlLength + flagsLength + (urgent ? urgentLength : 0) + signals
    }

    /// Reads what stands in clear at the beginning of a frame. Nothing of it is authentic yet.
    /// - Parameter bytes: at least ``controlLength``; what follows is not read.
    /// - Returns: the length of the whole frame, its rekey bit and its reserved bits, which RFC 8548 has ignored; nil where the bytes
    ///   are too few, or clen too small for any frame.
    public static func parseControl(_ bytes: Span<UInt8>) -> (length: Int, rekey: Bool, reserved: UInt8)? {
        guard bytes.count >= controlLength else { return nil }
        let ciphertext = Int(bytes.loadUInt16(at: 1))
        guard ciphertext >= flagsLength + AEADAlgorithm.tagLength else { return nil }
        return (controlLength + ciphertext, bytes[0] & rekeyBit != 0, bytes[0] >> 1)
    }
}

/// What an authenticated frame said.
public struct OpenedFrame: Sendable {
    /// Bytes of application data, at the beginning of the output.
    public let dataLength: Int
    /// The sender's last frame (FINp, RFC 8548 section 3.7).
    public let fin: Bool
    /// Offset of the last urgent byte from the beginning of this frame's data (RFC 8548 section 3.7).
    public let urgent: UInt16?
    /// The peer's generation went up with this frame (RFC 8548 section 3.8).
    public let rekey: Bool
    /// Bytes in front of the data.
    public let lead: Int
    /// TCP options for the receiving kernel (ProtectedSignalling); none where the TEP has none.
    public let signals: TCPOptions
}
