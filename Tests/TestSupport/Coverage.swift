/// What a run made happen: proof that the model reaches the corners.
public enum Happening: String, Sendable, CaseIterable {
    case retransmission, otherBoundaries = "with other boundaries", timeout, tailProbe = "tail probe"
    case partialAck = "partial ACK", sack = "SACK", dsack = "D-SACK", reneging
    case zeroWindow = "zero window", windowProbe = "window probe", keepAlive = "keepalive"
    case superPacketOut = "super-packet out", superPacketIn = "super-packet in", urgent
    case wrap = "sequence wrap", smallerPeerMSS = "unequal MSS"
    case timeWait = "TIME-WAIT", reuse = "TIME-WAIT reused", simultaneousClose = "simultaneous close"
    case reset, kernelDrop = "drop by the kernel"
}

/// How often things happened.
public typealias Coverage = [Happening: Int]
