import PacketWire

/// Changes to whole packets that leave everything else as it was, link header included.
extension WirePacket {
    /// Whether its checksums are right, or still to be made. What is not stays untouched everywhere: whoever writes such
    /// a packet anew would make its damage look like data.
    func isIntact(_ parsed: TCPPacket) -> Bool {
        hasPartialChecksum || PacketBuilder.hasValidChecksums(bytes, parsed)
    }

    /// The TCP segment in it, if it is intact.
    var intact: TCPPacket? {
        guard let parsed, isIntact(parsed) else { return nil }
        return parsed
    }

    /// The same packet with other TCP fields, options and data; the checksum is right afterwards.
    func rewritten(
        _ parsed: TCPPacket, _ header: TCPHeader, options: TCPOptions? = nil, payload: Range<Int>? = nil
    ) -> WirePacket {
        var changed = self
        changed.bytes = PacketBuilder.rewrite(
            parsed, of: bytes, header, options: options ?? TCPOptions(parsed, of: bytes.span),
            payload: bytes[payload ?? parsed.payload])
        changed.hasPartialChecksum = false
        return changed
    }

    /// Changes options where they stand, as middleboxes do that keep the header's length; nil where nothing changes.
    ///
    /// - Parameter edit: gets the kind, and the option's bytes to change; says whether it did.
    func editingOptions(_ parsed: TCPPacket, _ edit: (UInt8, inout ArraySlice<UInt8>) -> Bool) -> WirePacket? {
        var changed = self
        var isChanged = false
        var index = parsed.options.lowerBound
        while index < parsed.options.upperBound, bytes[index] != TCPOptionKind.end {
            if bytes[index] == TCPOptionKind.noOperation {
                index += 1
                continue
            }
            guard index + 1 < parsed.options.upperBound else { break }
            let end = index + Int(bytes[index + 1])
            guard end >= index + 2, end <= parsed.options.upperBound else { break }
            var option = bytes[index..<end]
            if edit(bytes[index], &option), option.count == end - index {
                changed.bytes.replaceSubrange(index..<end, with: option)
                isChanged = true
            }
            index = end
        }
        guard isChanged else { return nil }
        changed.bytes = PacketBuilder.withChecksum(changed.bytes, parsed)
        changed.hasPartialChecksum = false
        return changed
    }

    /// An answer on the link this packet came by.
    func answer(_ bytes: [UInt8]) -> WirePacket {
        var answer = WirePacket(bytes)
        answer.link = link.reversed
        return answer
    }
}

extension ArraySlice<UInt8> {
    /// NOPs in place of the option.
    mutating func blank() { for index in indices { self[index] = TCPOptionKind.noOperation } }
}

/// A connection as one direction's packets name it.
struct FlowKey: Hashable {
    var source: Endpoint
    var destination: Endpoint

    init(_ packet: TCPPacket) {
        source = packet.source
        destination = packet.destination
    }

    init(source: Endpoint, destination: Endpoint) {
        self.source = source
        self.destination = destination
    }

    var reversed: FlowKey { FlowKey(source: destination, destination: source) }
}

/// What a box knows of each connection: bounded, the oldest is forgotten first.
struct FlowTable<Value> {
    private static var capacity: Int { 20_000 }
    private var values: [FlowKey: Value] = [:]
    private var order: [FlowKey] = []
    private var oldest = 0

    subscript(key: FlowKey) -> Value? {
        get { values[key] }
        set {
            if newValue != nil, values[key] == nil { remember(key) }
            values[key] = newValue
        }
    }

    private mutating func remember(_ key: FlowKey) {
        if order.count < Self.capacity { return order.append(key) }
        values[order[oldest]] = nil
        order[oldest] = key
        oldest = (oldest + 1) % Self.capacity
    }
}
