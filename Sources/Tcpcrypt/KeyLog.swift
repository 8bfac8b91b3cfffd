/// Takes note of master keys, so that captured connections can be read: the article KeyLogging.
///
/// The one way on which key bytes leave ``Secret``, and there is none where nobody hands in such an object.
public protocol KeyLog: AnyObject, Sendable {
    /// - Parameter line: ASCII, the end of the line included. It is overwritten afterwards; whoever copies it wipes the copy.
    func append(_ line: Span<UInt8>)
}

/// How a connection can be found in a capture: what its handshake showed of it in clear.
enum WireName {
    /// N_A and N_B of Init1 and Init2 (RFC 8548 section 3.3).
    case exchange(a: [UInt8], b: [UInt8])
    /// resume[i] of the options of SYN and SYN-ACK (RFC 8548 section 3.5). Their nonces are in the session nonce.
    case resumption(ResumptionID)
}

extension ConnectionSecret {
    /// Writes down what it takes to read this connection: one line, for each connection once.
    public func record(in log: any KeyLog, _ crypto: any CryptoProvider) {
        var line = KeyLogLine()
        switch wireName {
        case .exchange(let a, let b):
            line.append(word: "TCPCRYPT_FRESH")
            line.append(field: a.span)
            line.append(field: b.span)
        case .resumption(let id):
            line.append(word: "TCPCRYPT_RESUMED")
            line.append(field: (id.a.bytes + id.b.bytes).span)
            line.append(field: sessionNonce.span)
        }
        line.append(field: [UInt8(aead.rawValue >> 8), UInt8(aead.rawValue & 0xff)].span)
        masterKey(crypto).withBytes { line.append(field: $0) }
        line.append(field: sessionID(crypto).span)
        line.finish(log)
    }
}

/// One line being made. It never grows beyond the memory it began with: that would leave a copy behind.
private struct KeyLogLine {
    /// The longest: a label, two nonces, the AEAD, mk[0] and a session ID.
    private static let capacity = 20 + 2 * (32 + 32 + 2 + 32 + 33) + 6
    private var bytes: [UInt8] = []

    init() { bytes.reserveCapacity(Self.capacity) }

    mutating func append(word: String) {
        for byte in word.utf8 { bytes.append(byte) }
    }

    /// A space, and `field` in hexadecimal; a dash where it is empty.
    mutating func append(field: Span<UInt8>) {
        bytes.append(UInt8(ascii: " "))
        if field.isEmpty { bytes.append(UInt8(ascii: "-")) }
        for index in field.indices {
            append(digit: field[index] >> 4)
            append(digit: field[index] & 0xf)
        }
    }

    private mutating func append(digit: UInt8) {
        bytes.append(digit < 10 ? UInt8(ascii: "0") + digit : UInt8(ascii: "a") + digit - 10)
    }

    mutating func finish(_ log: any KeyLog) {
        bytes.append(UInt8(ascii: "\n"))
        log.append(bytes.span)
        var used = bytes.mutableSpan
        wipe(&used)
    }
}
