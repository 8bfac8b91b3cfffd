import Tables
import Tcpcrypt

/// What is to be done where the machine may exist twice, as after a snapshot of it was restored: the other copy has the same keys, and
/// would use them with the same nonces for other bytes (RFC 8548 sections 3.5 and 8).
extension Engine {
    /// Ends every connection that has keys or was promised a session secret, with an error at both ends, and erases all that was secret:
    /// sessions, join chains, key pairs. What begins afterwards exchanges keys anew.
    public mutating func disownSecrets(now: Instant, into output: inout Output) {
        host.locked {
            for flow in Array(flows.values) where flow.holdsSecrets {
                flow.abort(.machineCopied, now: now, &output)
                settle(flow, &output)
            }
            host.tracker.eraseChains()
            host.sessions.flush()
            while host.sessions.erase(atMost: 4_096, now: now.milliseconds) {}
        }
        host.forgetKeyPairs()
    }
}

extension Flow {
    fileprivate var holdsSecrets: Bool { isProtected || hasPromisedEncryption || opening?.proposal != nil }
}
