import PacketWire
import Tables

/// ICMP errors about packets of encrypted flows.
///
/// They quote the wire: its sequence numbers, its packet sizes. The kernel takes no notice of an error whose quote does not lie
/// in its own window (RFC 5927 section 4.1), so both are translated.
extension Engine {
    /// An ICMP or ICMPv6 packet from the wire. What is not about an encrypted flow is the kernel's business alone.
    mutating func receiveError(
        _ bytes: Span<UInt8>, _ metadata: PacketMetadata, now: Instant, into output: inout Output
    ) {
        guard let error = ICMPError(parsing: bytes),
            let flow = flows[FlowTuple(local: error.source, remote: error.destination)], flow.hasTwoSpaces
        else { return output.actions.append(.accept(metadata.id, .unchanged)) }
        // Writing it anew would make a damaged one whole.
        guard error.hasValidChecksum(in: bytes) else {
            host.counters.malformed += 1
            return flow.drop(metadata.id, &output)
        }
        flow.translate(error, bytes, metadata, now, &output)
    }
}

extension Flow {
    /// The wire counts other bytes than the kernel.
    var hasTwoSpaces: Bool { phase == .keyExchange || phase == .encrypted }

    /// Hands the error to the kernel in the kernel's numbers, where it is about something that is under way.
    fileprivate func translate(
        _ error: ICMPError, _ bytes: Span<UInt8>, _ metadata: PacketMetadata, _ now: Instant, _ output: inout Output
    ) {
        let w = outOrigin.offset(of: error.sequence, near: send.sentW)
        // As the kernel judges its own numbers: whoever forges an error has to guess these.
        guard w >= send.acknowledgedW, w <= send.sentW else { return drop(metadata.id, &output) }
        let k = send.map.k(acknowledgedBy: w)
        let mtu = error.mtu.map { announced in
            let path = PathMTUs.Path(tuple)
            let told = host.learnPath(announced, path, route: header.kernelMTU, now)
            notePath(route: header.kernelMTU, now)
            return told
        }
        host.counters.icmpTranslated += 1
        let start = output.allocate(error.length)
        var all = output.bytes.mutableSpan
        var target = all._mutatingExtracting(start..<start + error.length)
        error.write(sequence: outOrigin.sequence(at: k), mtu: mtu, template: bytes, into: &target)
        output.actions.append(.replace(metadata.id, start..<start + error.length, .unchanged))
    }

    /// Notes how long a packet may be: what the kernel's route says, and what the path is known to take.
    func notePath(_ metadata: PacketMetadata, _ now: Instant) {
        if metadata.mtu > 0 { notePath(route: metadata.mtu, now) }
    }

    private func notePath(route: Int, _ now: Instant) {
        if route != notedRoute {
            // The error that made the kernel change its route may have come to another engine.
            notedRoute = route
            host.takePaths()
        }
        guard host.paths.count > 0 else {
            header.mtu = route
            header.kernelMTU = route
            return
        }
        (header.mtu, header.kernelMTU) = host.paths.limits(PathMTUs.Path(tuple), route: route, now)
    }
}
