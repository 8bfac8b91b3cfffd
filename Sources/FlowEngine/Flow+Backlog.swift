import DequeModule
import PacketWire
import Tcpcrypt

/// What the peer's window had no room for when the local kernel sent it.
extension Flow {
    /// Sends backlog that the peer's window has room for now.
    func flushBacklog(_ now: Instant, _ output: inout Output) {
        while var first = send.backlog.first, send.room > Frame.overhead || first.data.isEmpty {
            let start = send.nextW
            let options = TCPOptions(first.packet, of: first.template.span)
            let limit = frameLimit(optionCount: options.paddedCount, superPacket: 0, now)
            let sealed = seal(
                first.data.span, mapping(of: options), fin: first.isFIN, urgentK: first.urgentK, limit: limit)
            guard send.nextW > start else { return }
            let isFIN = send.finK != nil
            let w = start..<(isFIN ? send.nextW - 1 : send.nextW)
            let isDone = sealed == first.data.count
            first.data = first.data.dropFirst(sealed)
            first.k += sealed
            if isDone { send.dropFirstOfBacklog() } else { send.backlog[0] = first }
            injectBacklog(w, fin: isFIN, like: first, &output)
            if !isDone { return }
        }
    }

    private func injectBacklog(_ w: Range<Int>, fin: Bool, like source: BacklogPacket, _ output: inout Output) {
        var options = outboundOptions(TCPOptions(source.packet, of: source.template.span), isData: true)
        if header.usesTimestamps, let echo = options.range(of: TCPOptionKind.timestamps) {
            // Its own timestamp would be stale; the latest is never older than one already sent.
            let fresh = ownOptions(now: header.timestampTaken)
            for index in 0..<min(10, fresh.count) { options.set(fresh.span[index], at: echo.lowerBound + index) }
        }
        let segment = max(1, cutLimit(options.paddedCount))
        var position = w.lowerBound
        repeat {
            let end = min(w.upperBound, position + segment)
            let range = compose(
                fields(at: position, flags: source.packet.flags.forPiece(isLast: end == w.upperBound, fin: fin)),
                options: options, like: source.packet, template: source.template.span, ciphertext: position..<end,
                checksum: .full, &output)
            inject(range, &output)
            position = end
        } while position < w.upperBound
        send.sentW = max(send.sentW, w.upperBound + (fin ? 1 : 0))
        noteAcknowledged()
    }
}
