/// What of a handshake a packet is.
enum Stage: String, CaseIterable, Sendable {
    case syn = "SYN"
    case synAck = "SYN-ACK"
    /// Of the opener, with the MPTCP option or the ENO option of a third ACK.
    case thirdAck = "third ACK"
    case keyExchange = "Init"
    case frame
    case other
}

/// One thing that somebody between two hosts can do when a packet comes by.
enum Attack: String, CaseIterable, Sendable {
    // What a path does as well.
    case drop, delay, duplicate, reorder
    // Options are taken out.
    case stripENO = "strip ENO"
    case stripMPTCP = "strip MPTCP"
    case stripTimestamps = "strip timestamps"
    // Or altered.
    case alterTEPs = "alter TEPs"
    case alterRole = "alter role bit"
    case alterIdentifier = "alter resumption identifier"
    case alterNonce = "alter nonce"
    case alterToken = "alter token"
    case alterRandom = "alter random number"
    case alterAddressID = "alter address ID"
    case alterKeyExchange = "alter Init"
    // Handshakes become others, from this packet on.
    case capableToJoin = "new connection into join"
    case joinToCapable = "join into new connection"
    case otherEndpoint = "by way of another address"
    case splice = "splice two handshakes"
    case impersonate = "answer in the acceptor's name"
    case supplant = "another SYN for a half-open join"
    // What was recorded comes again; the packet that comes by goes on.
    case replaySYN = "replay SYN"
    case replaySYNElsewhere = "replay SYN from elsewhere"
    case replaySYNToOther = "replay SYN to another connection"
    case reflectSYN = "reflect SYN"
    case replaySYNACK = "replay SYN-ACK"
    case replayThirdACK = "replay third ACK"
    case replayKeyExchange = "replay Init"
    case replayFrame = "replay frame"
    // Made up, with the MPTCP keys that were read.
    case forgeJoin = "made-up join"
    case forgeSYN = "made-up SYN"
    case forgeReset = "made-up reset"

    /// Which packets it is about, or comes along with.
    var stages: [Stage] {
        switch self {
        case .drop, .delay, .duplicate, .reorder: [.syn, .synAck, .thirdAck, .keyExchange, .frame]
        case .stripENO, .stripMPTCP: [.syn, .synAck, .thirdAck, .keyExchange]
        case .stripTimestamps: [.syn, .synAck]
        case .alterTEPs, .alterRole, .alterIdentifier, .alterNonce: [.syn, .synAck]
        case .alterToken: [.syn]
        case .alterRandom, .alterAddressID: [.syn, .synAck]
        case .alterKeyExchange: [.keyExchange]
        case .capableToJoin, .joinToCapable, .otherEndpoint, .impersonate: [.syn]
        case .splice, .supplant: [.synAck]
        case .replaySYN, .replaySYNElsewhere, .replaySYNToOther, .reflectSYN, .replaySYNACK, .replayThirdACK,
            .replayKeyExchange, .replayFrame, .forgeJoin, .forgeSYN, .forgeReset:
            [.syn, .synAck, .thirdAck, .frame]
        }
    }

    /// In how many ways it is done.
    var variants: Int {
        switch self {
        case .alterTEPs: 4
        case .alterRole, .alterToken, .alterIdentifier, .alterNonce: 2
        case .capableToJoin, .joinToCapable, .otherEndpoint: 2
        case .impersonate, .forgeJoin: 5
        case .forgeReset: 4
        case .supplant: 7
        case .replaySYNElsewhere, .replaySYNToOther, .reflectSYN, .replayFrame, .replayKeyExchange, .replaySYNACK,
            .forgeSYN:
            2
        default: 1
        }
    }

    /// Whether it is about recorded packets, or made-up ones, rather than the one that comes by.
    var isBeside: Bool { stages == Attack.forgeReset.stages }
}

/// One attack on one packet, in one of its ways.
struct Move: Hashable, Sendable, CustomStringConvertible {
    var attack: Attack
    var variant = 0

    var description: String { attack.variants > 1 ? "\(attack.rawValue) (\(variant))" : attack.rawValue }
}
