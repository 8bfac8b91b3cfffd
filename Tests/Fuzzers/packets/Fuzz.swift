import PacketWire

/// Any bytes as a packet: what parses must be consistent, survive being written anew, and its options be editable.
func fuzz(_ input: [UInt8]) {
    let span = input.span
    error(input)
    guard let packet = try? TCPPacket(parsing: span) else { return options(input) }
    require(packet.payload.upperBound <= input.count, "the payload lies within the packet")
    require(packet.options.upperBound == packet.payload.lowerBound, "the payload follows the options")
    _ = packet.hasValidChecksum(in: span)
    var kept = TCPOptions(packet, of: span)
    let isSYN = packet.flags.contains(.syn)
    _ = kept.mptcpOption(isSYN: isSYN)
    rewrite(packet, kept, input)
    edit(&kept)
    rewrite(packet, kept, input)
}

/// Any bytes as an ICMP error: one that is understood says the same when written anew, but for what was to change.
private func error(_ input: [UInt8]) {
    guard let error = ICMPError(parsing: input.span) else { return }
    require(input.span.isICMP, "an ICMP error is ICMP")
    require(error.length <= input.count, "an error lies within its packet")
    _ = error.hasValidChecksum(in: input.span)
    var output = [UInt8](repeating: 0, count: error.length)
    var target = output.mutableSpan
    let sequence = error.sequence + 77
    error.write(sequence: sequence, mtu: 1260, template: input.span, into: &target)
    guard let again = ICMPError(parsing: output.span) else { fatalError("what was written must parse") }
    require(again.hasValidChecksum(in: output.span), "the checksum written is right")
    require(again.sequence == sequence && again.mtu == error.mtu.map { _ in 1260 }, "the new numbers are in it")
    require(again.source == error.source && again.destination == error.destination, "the ends are kept")
}

private func options(_ input: [UInt8]) {
    var parsed = TCPOptions(parsing: input.span)
    require(parsed.count <= TCPOptions.capacity, "options fit")
    edit(&parsed)
    for isSYN in [true, false] { _ = MPTCPOption(input.span, isSYN: isSYN) }
}

private func edit(_ options: inout TCPOptions) {
    _ = (options.maximumSegmentSize, options.windowScale, options.timestamps, options.sackBlocks, options.mayBeJoin)
    options.setMaximumSegmentSize(1400)
    options.dropMPTCPDataLength()
    options.remove(TCPOptionKind.timestamps)
    let before = options.count
    let eno: [UInt8] = [TCPOptionKind.encryptionNegotiation, 3, 0x23]
    let fits = options.append(eno.span)
    require(options.count == before + (fits ? 3 : 0), "an option is appended whole or not at all")
    if fits { require(options.contains(TCPOptionKind.encryptionNegotiation), "an appended option is found") }
    require(options.paddedCount <= TCPOptions.capacity, "options fit the header")
}

private func rewrite(_ packet: TCPPacket, _ options: TCPOptions, _ input: [UInt8]) {
    let length = packet.length(options: options, payloadCount: packet.payload.count)
    guard length <= 65_535 else { return }
    var output = [UInt8](repeating: 0, count: length)
    for index in 0..<packet.payload.count {
        output[length - packet.payload.count + index] = input[packet.payload.lowerBound + index]
    }
    var target = output.mutableSpan
    packet.write(TCPHeader(packet), options: options, template: input.span, checksum: .full, into: &target)
    guard let again = try? TCPPacket(parsing: output.span) else { fatalError("what was written must parse") }
    require(again.hasValidChecksum(in: output.span), "the checksum written is right")
    require(again.source == packet.source && again.destination == packet.destination, "addresses are kept")
    require(again.sequence == packet.sequence && again.payload.count == packet.payload.count, "the segment is kept")
}
