/// What a run made happen: proof that the model reaches the corners.
public enum Happening: String, Sendable, CaseIterable {
    case retransmission
    case otherBoundaries = "with other boundaries"
    case timeout
    case tailProbe = "tail probe"
    case partialAck = "partial ACK"
    case sack = "SACK"
    case dsack = "D-SACK"
    case undo = "D-SACK undo"
    case reneging
    case zeroWindow = "zero window"
    case windowProbe = "window probe"
    case keepAlive = "keepalive"
    case superPacketOut = "super-packet out"
    case superPacketIn = "super-packet in"
    case urgent
    case wrap = "sequence wrap"
    case smallerPeerMSS = "unequal MSS"
    case timeWait = "TIME-WAIT"
    case reuse = "TIME-WAIT reused"
    case simultaneousClose = "simultaneous close"
    case reset
    case kernelDrop = "drop by the kernel"
    case narrowPath = "path MTU learned"
    case blackHole = "path MTU guessed"
}

/// How often things happened.
public typealias Coverage = [Happening: Int]
