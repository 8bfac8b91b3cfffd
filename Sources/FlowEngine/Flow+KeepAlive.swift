import PacketWire
import Tcpcrypt

/// Verified keep-alives (RFC 8548 section 3.9): anybody can answer those of TCP.
///
/// A keep-alive of the local kernel becomes an empty frame with rekey = 1, which a peer that lives has to answer with one of its own.
/// Until something authenticates, bare acknowledgements do not reach the kernel: it counts its probes, and gives up as it would where
/// nobody answers. Options of MPTCP travel on acknowledgements too, so its subflows keep the keep-alives of TCP.
extension Flow {
    /// Asks the peer for a sign of life in place of a kernel's segment at `k`.
    ///
    /// - Returns: whether it was a keep-alive, and is not needed any more.
    func verifyKeepAlive(at k: Int, _ now: Instant, _ output: inout Output) -> Bool {
        guard k == send.acknowledgedK - 1, isQuiet, phase == .encrypted, !needsENO, !isReset,
            let sealer, let opener
        else { return false }
        // Whoever has sent its FIN sends no frames.
        guard send.finK == nil, receive.signedEndW == nil else { return false }
        // One question at a time; it is repeated until it is acknowledged.
        if sealer.generation <= opener.generation {
            guard mayOwnMore else { return false }
            sealOwn(rekey: true, now, &output)
        }
        awaitsLife = true
        return true
    }

    /// Whether a pure acknowledgement at `w` says no more than that somebody is there.
    func isMereLife(at w: Int) -> Bool { awaitsLife && isQuiet && w >= currentAckW }

    /// Nothing is under way that the peer could acknowledge, and no window that the kernel might wait for.
    private var isQuiet: Bool {
        mptcp == nil && send.queuedK == send.acknowledgedK
            && Int(header.remoteWindow) << header.remoteScale >= header.wireMSS
    }
}
