import PacketWire

/// Opens the frames of one direction (RFC 8548 sections 3.6 to 3.8), in the order of the stream.
public struct FrameOpener {
    private(set) var key: TrafficKey
    private let readsSignals: Bool

    /// - Parameter readsSignals: the TEP's ``TEP/protectsSignals``.
    init(_ key: TrafficKey, readsSignals: Bool = false) {
        self.key = key
        self.readsSignals = readsSignals
    }

    /// The remote generation number (RFC 8548 section 3.8).
    public var generation: Int { key.generation }

    /// Opens one frame. A frame that does not authenticate changes nothing: the genuine bytes may still come.
    /// - Parameters:
    ///   - frame: the whole frame, as long as ``Frame/parseControl(_:)`` says.
    ///   - offset: of its first byte in the stream, as for the sealer.
    ///   - output: receives the data at its beginning; must have room for the frame's length less 20 bytes.
    /// - Returns: nil where it is not a frame of the peer.
    public mutating func open(
        _ frame: Span<UInt8>, offset: UInt64, into output: inout MutableSpan<UInt8>
    ) -> OpenedFrame? {
        guard let control = Frame.parseControl(frame), frame.count == control.length else { return nil }
        let signalCount = readsSignals ? Int(control.reserved) : 0
        let room = control.length - Frame.overhead - signalCount
        guard room >= 0, signalCount <= Frame.maximumSignals, output.count >= room else { return nil }
        let used = control.rekey ? key.next() : key
        // Flags, signals.
        var inner = InlineArray<41, UInt8>(repeating: 0)
        var all = inner.mutableSpan
        var head = all._mutatingExtracting(0..<Frame.flagsLength + signalCount)
        var target = output._mutatingExtracting(0..<room)
        let aad = frame.extracting(0..<Frame.controlLength)
        let ciphertext = frame.extracting(Frame.controlLength..<frame.count)
        guard used.open(offset: offset, aad: aad, ciphertext: ciphertext, head: &head, into: &target),
            let opened = Self.read(
                flags: head[0], head.span.extracting(Frame.flagsLength..<head.count), &target, rekey: control.rekey)
        else { return nil }
        if control.rekey { key = used }
        return opened
    }

    /// Takes the urgent field out of the plaintext, if there is one.
    private static func read(
        flags: UInt8, _ signals: Span<UInt8>, _ plain: inout MutableSpan<UInt8>, rekey: Bool
    ) -> OpenedFrame? {
        let fin = flags & Frame.finBit != 0
        guard flags & Frame.urgentBit != 0 else {
            return OpenedFrame(
                dataLength: plain.count, fin: fin, urgent: nil, rekey: rekey,
                lead: Frame.lead(urgent: false, signals: signals.count), signals: TCPOptions(parsing: signals))
        }
        guard plain.count >= Frame.urgentLength else { return nil }
        let urgent = UInt16(plain[0]) << 8 | UInt16(plain[1])
        let count = plain.count - Frame.urgentLength
        for index in 0..<count { plain[index] = plain[index + Frame.urgentLength] }
        return OpenedFrame(
            dataLength: count, fin: fin, urgent: urgent, rekey: rekey,
            lead: Frame.lead(urgent: true, signals: signals.count), signals: TCPOptions(parsing: signals))
    }
}
