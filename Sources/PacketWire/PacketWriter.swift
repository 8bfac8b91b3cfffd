/// The TCP header fields of a packet to write.
public struct TCPHeader: Sendable {
    public var sequence: SequenceNumber
    public var acknowledgment: SequenceNumber
    public var flags: TCPFlags
    public var window: UInt16
    public var urgentPointer: UInt16

    public init(
        sequence: SequenceNumber, acknowledgment: SequenceNumber, flags: TCPFlags, window: UInt16,
        urgentPointer: UInt16 = 0
    ) {
        self.sequence = sequence
        self.acknowledgment = acknowledgment
        self.flags = flags
        self.window = window
        self.urgentPointer = urgentPointer
    }

    public init(_ packet: TCPPacket) {
        self.init(
            sequence: packet.sequence, acknowledgment: packet.acknowledgment, flags: packet.flags,
            window: packet.window, urgentPointer: packet.urgentPointer)
    }
}

/// Whether the writer finishes the TCP checksum.
public enum ChecksumMode: Sendable { case full, leftToKernel }

extension TCPPacket {
    /// The length of this packet written anew with `options` and `payloadCount` bytes of data.
    public func length(options: borrowing TCPOptions, payloadCount: Int) -> Int {
        tcpOffset + 20 + options.paddedCount + payloadCount
    }

    /// Writes the packet anew: its own IP header, the given TCP header and options. The payload already stands
    /// in `output`, behind the headers and up to its end.
    ///
    /// - Parameters:
    ///   - template: the bytes this packet was parsed from; ports, addresses and IP fields are taken from them.
    ///   - output: exactly ``length(options:payloadCount:)`` bytes, at most 65,535.
    public func write(
        _ header: TCPHeader, options: borrowing TCPOptions, template: Span<UInt8>, checksum mode: ChecksumMode,
        into output: inout MutableSpan<UInt8>
    ) {
        output.copy(template.extracting(0..<tcpOffset + 4), at: 0)
        writeIPLength(&output)
        let tcp = tcpOffset
        output.store(header.sequence.rawValue, at: tcp + 4)
        output.store(header.acknowledgment.rawValue, at: tcp + 8)
        // The low nibble holds reserved bits and, historically, the ECN nonce: keep them.
        output[tcp + 12] = UInt8(truncatingIfNeeded: (20 + options.paddedCount) / 4) << 4 | template[tcp + 12] & 0xf
        output[tcp + 13] = header.flags.rawValue
        output.store(header.window, at: tcp + 14)
        output.store(UInt16(0), at: tcp + 16)
        output.store(header.urgentPointer, at: tcp + 18)
        options.write(into: &output, at: tcp + 20)
        finishChecksum(mode, of: &output)
    }

    private func writeIPLength(_ output: inout MutableSpan<UInt8>) {
        if isIPv6 {
            output.store(UInt16(truncatingIfNeeded: output.count - 40), at: 4)
            return
        }
        output.store(UInt16(truncatingIfNeeded: output.count), at: 2)
        output.store(UInt16(0), at: 10)
        var sum = Checksum()
        sum.add(output.span.extracting(0..<tcpOffset))
        output.store(sum.value, at: 10)
    }

    /// Whether the TCP checksum over `bytes`, which this packet was parsed from, is right.
    public func hasValidChecksum(in bytes: Span<UInt8>) -> Bool {
        var sum = pseudoHeader(tcpCount: payload.upperBound - tcpOffset)
        sum.add(bytes.extracting(tcpOffset..<payload.upperBound))
        return sum.value == 0
    }

    private func pseudoHeader(tcpCount: Int) -> Checksum {
        var sum = Checksum()
        sum.add(source.address)
        sum.add(destination.address)
        sum.add(word: 6)
        sum.add(word: UInt16(truncatingIfNeeded: tcpCount))
        return sum
    }

    private func finishChecksum(_ mode: ChecksumMode, of output: inout MutableSpan<UInt8>) {
        var sum = pseudoHeader(tcpCount: output.count - tcpOffset)
        switch mode {
        case .full:
            sum.add(output.span.extracting(tcpOffset..<output.count))
            output.store(sum.value, at: tcpOffset + 16)
        case .leftToKernel:
            // CHECKSUM_PARTIAL convention: the field holds the folded pseudo-header sum, not its complement.
            output.store(~sum.value, at: tcpOffset + 16)
        }
    }
}

/// Makes the headers of a packet from nothing, to serve as a template.
public enum HeaderTemplate {
    /// An IPv4 (DF set, identification left to the kernel) or IPv6 header and an option-less TCP header.
    public static func bytes(
        from source: Endpoint, to destination: Endpoint, hopLimit: UInt8 = 64, trafficClass: UInt8 = 0
    ) -> [UInt8] {
        var bytes: [UInt8]
        if source.address.isIPv6 {
            bytes = [0x60 | trafficClass >> 4, trafficClass << 4, 0, 0, 0, 20, 6, hopLimit]
        } else {
            bytes = [0x45, trafficClass, 0, 40, 0, 0, 0x40, 0, hopLimit, 6, 0, 0]
        }
        bytes += source.address.bytes + destination.address.bytes
        for port in [source.port, destination.port] {
            bytes += [UInt8(truncatingIfNeeded: port >> 8), UInt8(truncatingIfNeeded: port)]
        }
        return bytes + [0, 0, 0, 0, 0, 0, 0, 0, 0x50, 0x10, 0, 0, 0, 0, 0, 0]
    }
}
