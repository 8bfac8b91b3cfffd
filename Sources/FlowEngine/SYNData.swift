import PacketWire
import Tcpcrypt

// Data on SYNs (RFC 8547 section 4.7). tcpcrypt gives it no meaning: no SYN with the ENO option leaves with data or a Fast Open cookie, and
// of one that arrives both are discarded, also where encryption does not come about. What the discarding kernel does not acknowledge comes
// again behind the handshake.

extension TCPPacket {
    func carriesDataWithSYN(_ options: borrowing TCPOptions) -> Bool {
        guard payload.isEmpty else { return true }
        return options.hasFastOpenCookie
    }
}

extension TCPOptions {
    /// A Fast Open option that is not a mere request for a cookie (RFC 7413 section 2).
    var hasFastOpenCookie: Bool { contents(of: TCPOptionKind.fastOpen).map { !$0.isEmpty } ?? false }

    mutating func removeFastOpenCookie() {
        if hasFastOpenCookie { remove(TCPOptionKind.fastOpen) }
    }
}

extension Host {
    /// Hands the local kernel a SYN of a connection that stays plain, without data where it has the ENO option.
    func acceptSYN(_ bytes: Span<UInt8>, _ arrival: Arrival, _ mark: FlowMark, _ output: inout Output) {
        var options = TCPOptions(arrival.packet, of: bytes)
        guard arrival.metadata.direction == .inbound, options.contains(ENO.optionKind),
            arrival.packet.carriesDataWithSYN(options)
        else { return output.actions.append(.accept(arrival.metadata.id, mark)) }
        options.removeFastOpenCookie()
        let count = arrival.packet.length(options: options, payloadCount: 0)
        let start = output.allocate(count)
        var all = output.bytes.mutableSpan
        var target = all._mutatingExtracting(start..<start + count)
        arrival.packet.write(
            TCPHeader(arrival.packet), options: options, template: bytes, checksum: .full, into: &target)
        output.actions.append(.replace(arrival.metadata.id, start..<start + count, mark))
    }
}
