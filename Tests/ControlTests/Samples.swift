import ControlProtocol

/// Messages that several tests share.
enum Samples {
    static var mptcp: ConnectionMessage {
        var first = SubflowMessage(local: "10.0.1.1:43210", remote: "10.0.1.2:80", state: .encrypted)
        first.origin = .fresh
        first.tep = "TCPCRYPT_ECDHE_Curve25519"
        first.aead = "AEAD_AES_128_GCM"
        first.role = .a
        first.peerApplicationAware = true
        first.sessionID = SubflowMessage.hexadecimal([0x23, 0x00, 0xAB])
        first.secretIndex = 0
        first.localGeneration = 2
        first.remoteGeneration = 1
        first.plainBytesIn = 1000
        first.plainBytesOut = 10
        first.wireBytesIn = 1100
        first.wireBytesOut = 130
        first.authFailures = 1
        var join = SubflowMessage(local: "[2001:db8::1]:43211", remote: "[2001:db8::2]:80", state: .handshake)
        join.origin = .join
        join.role = .b
        join.secretIndex = 3
        return ConnectionMessage(
            kind: .mptcp, localToken: 0x00AB_CDEF, remoteToken: nil, subflows: [first, join])
    }

    static var plain: ConnectionMessage {
        var subflow = SubflowMessage(local: "10.0.1.1:5000", remote: "10.0.1.2:8080", state: .plain)
        subflow.reason = "peer sent no ENO option"
        return ConnectionMessage(kind: .tcp, localToken: nil, remoteToken: nil, subflows: [subflow])
    }

    static let session = SessionMessage(
        tep: "TCPCRYPT_ECDHE_Curve25519", aead: "AEAD_AES_128_GCM", role: .b, nextIndex: 4,
        peers: ["10.0.1.2", "2001:db8::2"], ageMilliseconds: 1500)

    static let counters = CountersMessage([.init("packets_out", 7), .init("public_key_operations", 2)])

    static let status = StatusMessage(
        version: "1.0", uptimeMilliseconds: 12, teps: ["TCPCRYPT_ECDHE_Curve25519"], aeads: ["AEAD_AES_128_GCM"],
        resumption: true, excludedPorts: [22, 443], workers: 1, queues: [31850, 31851, 31852],
        flows: .init(handshake: 1, encrypted: 2, plain: 3), sessions: 4,
        keyLog: .init(path: "/root/keys", lines: 5, failures: 1), counters: counters)

    static let requests: [ControlRequest] = [
        .status, .connections, .sessions, .flushSessions(), .flushSessions(peer: "10.0.0.0/8"), .counters,
    ]

    /// What a daemon with these samples answers.
    static func answer(_ request: ControlRequest) -> ControlResponse {
        switch request {
        case .status: .status(status)
        case .connections: .connections([mptcp, plain])
        case .sessions: .sessions([session])
        case .flushSessions: .flushed(1)
        case .rekey: .rekeying(3)
        case .counters: .counters(counters)
        }
    }
}
