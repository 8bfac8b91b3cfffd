import PacketWire

/// An end of file is what the peer signed, with or without a FIN (RFC 8548 section 3.7).
extension Flow {
    /// In milliseconds: where a FIN travels behind the last frame, it takes no longer.
    static let missingFIN: Int64 = 1_000

    /// Whether a segment without data at `w` can be nothing but a repetition of the FIN, which somebody took out of it, for a kernel that has
    /// not taken the FIN.
    func isLostFIN(at w: Int) -> Bool { receive.finK != nil && !receive.isFinished && w == receive.signedEndW }

    /// The last frame is here, but no FIN: somebody takes it out of the packets. The local kernel is told of the end, and what it
    /// acknowledges then is the FIN that the peer has sent with that frame.
    func missingFINDue(_ now: Instant, _ output: inout Output) {
        finDeadline = nil
        guard phase == .encrypted, !isReset, !awaitsProof, receive.finK == nil,
            receive.signedEndW == receive.nextW
        else { return }
        let fields = TCPHeader(
            sequence: inOrigin.sequence(at: receive.nextK), acknowledgment: outOrigin.sequence(at: send.acknowledgedK),
            flags: [.ack, .fin], window: kernelWindow(send.acknowledgedW, header.remoteWindow))
        receive.appendFIN()
        // The kernel has had the end of that frame as the end of the stream.
        if receive.isFinished { return injectAck(now: now, &output) }
        guard
            let range = host.make(fields, from: tuple.remote, to: tuple.local, options: TCPOptions(), &output)
        else { return }
        output.actions.append(.injectLocal(range))
        if receive.deliveredK == receive.nextK - 1 { (receive.deliveredK, receive.deliveredAt) = (receive.nextK, now) }
    }
}
