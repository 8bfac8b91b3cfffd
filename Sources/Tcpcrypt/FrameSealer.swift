import PacketWire

/// Makes the frames of one direction (RFC 8548 sections 3.6 to 3.8).
///
/// A frame's nonce is its offset in the stream, so each offset is sealed once: retransmissions are the caller's
/// copies of what was sealed.
public struct FrameSealer {
    private(set) var key: TrafficKey
    /// Everything below is taken.
    private var nextOffset: UInt64 = 0
    private var hasEnded = false
    /// Where the stream under the current key begins.
    private var keyOffset: UInt64 = 0

    init(_ key: TrafficKey) { self.key = key }

    /// The local generation number (RFC 8548 section 3.8).
    public var generation: Int { key.generation }

    /// Bytes of frames that the current key has made.
    public var countUnderKey: UInt64 { nextOffset - keyOffset }

    /// Seals one frame.
    /// - Parameters:
    ///   - data: at most ``Frame/maximumData`` bytes.
    ///   - urgent: offset of the last urgent byte from the beginning of this frame's data.
    ///   - fin: this is the last frame; none can be sealed after it.
    ///   - rekey: go to the next generation with this frame.
    ///   - signals: TCP options, at most ``Frame/maximumSignals`` bytes, where the TEP has such (``TEP/protectsSignals``).
    ///   - offset: of the frame's first byte in the stream as the wire carries it, counted from the byte behind
    ///     the SYN, Init messages included.
    ///   - output: receives ``Frame/length(data:urgent:signals:)`` bytes.
    /// - Returns: false, with nothing changed, where the offset lies in what was sealed before, the stream has
    ///   ended, or lengths do not fit. What `output` holds then must not be sent.
    public mutating func seal(
        data: Span<UInt8>, urgent: UInt16?, fin: Bool, rekey: Bool, signals: Span<UInt8> = Span(), offset: UInt64,
        into output: inout MutableSpan<UInt8>
    ) -> Bool {
        let length = Frame.length(data: data.count, urgent: urgent != nil, signals: signals.count)
        let (end, overflow) = offset.addingReportingOverflow(UInt64(length))
        guard !hasEnded, data.count <= Frame.maximumData, signals.count <= Frame.maximumSignals,
            length - Frame.controlLength <= Int(UInt16.max), output.count >= length, offset >= nextOffset, !overflow
        else { return false }
        let control = Self.control(length, rekey: rekey, signals: signals.count)
        let head = Self.head(urgent, fin: fin, signals)
        let used = rekey ? key.next() : key
        for index in 0..<Frame.controlLength { output[index] = control[index] }
        var target = output._mutatingExtracting(Frame.controlLength..<length)
        let headLength = Frame.lead(urgent: urgent != nil, signals: signals.count) - Frame.controlLength
        guard
            used.seal(
                offset: offset, aad: control.span, head: head.span.extracting(0..<headLength), data: data,
                into: &target)
        else { return false }
        if rekey {
            key = used
            keyOffset = offset
        }
        nextOffset = end
        hasEnded = fin
        return true
    }

    private static func control(_ length: Int, rekey: Bool, signals: Int) -> InlineArray<3, UInt8> {
        let ciphertext = length - Frame.controlLength
        return [
            UInt8(truncatingIfNeeded: signals << 1) | (rekey ? Frame.rekeyBit : 0),
            UInt8(truncatingIfNeeded: ciphertext >> 8),
            UInt8(truncatingIfNeeded: ciphertext),
        ]
    }

    /// Flags, signals and, where there is one, the urgent field (RFC 8548 section 4.2.1).
    private static func head(_ urgent: UInt16?, fin: Bool, _ signals: Span<UInt8>) -> InlineArray<43, UInt8> {
        var head = InlineArray<43, UInt8>(repeating: 0)
        head[0] = (fin ? Frame.finBit : 0) | (urgent == nil ? 0 : Frame.urgentBit)
        for index in signals.indices { head[Frame.flagsLength + index] = signals[index] }
        guard let urgent else { return head }
        head[Frame.flagsLength + signals.count] = UInt8(truncatingIfNeeded: urgent >> 8)
        head[Frame.flagsLength + signals.count + 1] = UInt8(truncatingIfNeeded: urgent)
        return head
    }
}
