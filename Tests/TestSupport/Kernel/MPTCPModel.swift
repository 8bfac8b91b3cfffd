import PacketWire

/// One end of an MPTCP connection: keys and tokens only (RFC 8684 section 3.1).
public final class MPTCPEndpoint {
    public let localKey: UInt64
    public let localToken: UInt32
    public private(set) var remoteKey: UInt64?
    public private(set) var remoteToken: UInt32?
    private let sha256: ([UInt8]) -> [UInt8]

    public init(localKey: UInt64, sha256: @escaping ([UInt8]) -> [UInt8]) {
        self.localKey = localKey
        self.sha256 = sha256
        localToken = Self.token(localKey, sha256)
    }

    func learn(remoteKey: UInt64) {
        self.remoteKey = remoteKey
        remoteToken = Self.token(remoteKey, sha256)
    }

    private static func token(_ key: UInt64, _ sha256: ([UInt8]) -> [UInt8]) -> UInt32 {
        var bytes: [UInt8] = []
        bytes.append(bigEndian: key)
        return sha256(bytes).span.loadUInt32(at: 0)
    }
}

/// The options one subflow puts on its packets and expects on the peer's, after the Linux implementation.
public struct SubflowModel {
    public enum Kind: Sendable, Hashable {
        case capable
        /// Joins the connection with this token of the peer's.
        case join(token: UInt32)
    }

    enum Verdict { case fine, fallBack, reset }

    public let kind: Kind
    let isOpener: Bool
    public let connection: MPTCPEndpoint
    public let localRandom: UInt32
    /// That of the SYN-ACK of a join.
    public private(set) var remoteRandom: UInt32?
    let addressID: UInt8
    /// Packets without MPTCP options no longer matter.
    public private(set) var isFullyEstablished = false
    public private(set) var hasFallenBack = false
    /// The SYN-ACK or the third ACK has arrived with its option.
    private(set) var isNegotiated = false
    /// The mappings that have been told, in stream offsets.
    private var mapped: [Range<Int>] = []
    /// Data without one that the stream has not reached.
    private var unmapped: [Range<Int>] = []

    public init(
        kind: Kind, isOpener: Bool, connection: MPTCPEndpoint, localRandom: UInt32, addressID: UInt8 = 0
    ) {
        self.kind = kind
        self.isOpener = isOpener
        self.connection = connection
        self.localRandom = localRandom
        self.addressID = addressID
    }

    public var isJoin: Bool { kind != .capable }
    /// The joiner may not send data before the fourth ACK.
    var mustWait: Bool { isJoin && isOpener && !isFullyEstablished && !hasFallenBack }

    // MARK: What it sends

    func synOption(isAck: Bool) -> [UInt8] {
        var option: [UInt8]
        switch kind {
        case .capable where isAck:
            option = [30, 12, 0x01, 0x01]
            option.append(bigEndian: connection.localKey)
        case .capable:
            option = [30, 4, 0x01, 0x01]
        case .join where isAck:
            option = [30, 16, 0x10, addressID] + [UInt8](repeating: 0x5a, count: 8)
            option.append(bigEndian: localRandom)
        case .join(let token):
            option = [30, 12, 0x10, addressID]
            option.append(bigEndian: token)
            option.append(bigEndian: localRandom)
        }
        return option
    }

    /// The option of a segment with the data `mapping` belongs to, or of an acknowledgement.
    func option(mapping: Range<Int>?) -> [UInt8] {
        guard !hasFallenBack else { return [] }
        if isOpener, !isFullyEstablished {
            if isJoin { return [30, 24, 0x10, 0] + [UInt8](repeating: 0xa5, count: 20) }
            if mapping == nil || mapping?.lowerBound == 0 { return capableAck(length: mapping?.count) }
        }
        var option: [UInt8] = [30, mapping == nil ? 12 : 26, 0x20, mapping == nil ? 0x03 : 0x0f]
        option.append(bigEndian: UInt64(0x1122_3344_5566_7788))
        if let mapping {
            option.append(bigEndian: Self.dataSequence(mapping.lowerBound))
            option.append(bigEndian: UInt32(truncatingIfNeeded: mapping.lowerBound + 1))
            option.append(bigEndian: UInt16(truncatingIfNeeded: mapping.count))
        }
        return option
    }

    private func capableAck(length: Int?) -> [UInt8] {
        var option: [UInt8] = [30, length == nil ? 20 : 22, 0x01, 0x01]
        option.append(bigEndian: connection.localKey)
        option.append(bigEndian: connection.remoteKey ?? 0)
        if let length { option.append(bigEndian: UInt16(truncatingIfNeeded: length)) }
        return option
    }

    private static func dataSequence(_ offset: Int) -> UInt64 { 0x7fff_ffff_ffff_f000 &+ UInt64(offset) }

    // MARK: What it receives

    mutating func receiveSYNACK(_ options: borrowing TCPOptions) -> Verdict {
        switch (options.mptcpOption(isSYN: true), isJoin) {
        case (.capableSYNACK(let key), false): connection.learn(remoteKey: key)
        case (.joinSYNACK(let random), true): remoteRandom = random
        default:
            hasFallenBack = true
            return isJoin ? .reset : .fallBack
        }
        isNegotiated = true
        return .fine
    }

    /// The packet that completes the passive handshake.
    mutating func receiveThirdAck(_ options: borrowing TCPOptions) -> Verdict {
        switch (options.mptcpOption(isSYN: false), isJoin) {
        case (.capableACK(let sender, let receiver), false) where receiver == connection.localKey:
            connection.learn(remoteKey: sender)
        case (.joinACK, true): break
        default:
            hasFallenBack = true
            return isJoin ? .reset : .fallBack
        }
        isNegotiated = true
        isFullyEstablished = true
        return .fine
    }

    /// Any later packet at stream offset `offset` (of its first byte).
    mutating func receive(_ options: borrowing TCPOptions, at offset: Int) -> Verdict {
        guard !isFullyEstablished, !hasFallenBack else { return .fine }
        guard offset == 0 else { return isJoin ? .reset : .fine }
        if let range = options.range(of: TCPOptionKind.mptcp),
            DSSOption(options.span.extracting(range))?.acknowledgment != nil
        {
            isFullyEstablished = true
            return .fine
        }
        if case .capableACK = options.mptcpOption(isSYN: false) { return .fine }
        hasFallenBack = true
        return isJoin ? .reset : .fallBack
    }

    /// Notes the mapping of a data packet, or that it has none.
    ///
    /// - Returns: whether its bytes belong to the mapping that it has.
    mutating func place(_ payload: Range<Int>, by options: borrowing TCPOptions) -> Bool {
        guard let mapping = Self.mapping(in: options) else {
            unmapped.append(payload)
            return true
        }
        if mapped.last != mapping.range { mapped.append(mapping.range) }
        return mapping.isOwn && mapping.range.contains(payload)
    }

    /// The stream has reached `end`.
    ///
    /// - Returns: data below it that no mapping told so far says the place of.
    mutating func consume(upTo end: Int) -> [Range<Int>] {
        defer { unmapped.removeAll { $0.upperBound <= end } }
        // Without any mapping the sender has fallen back, and this end does when it sees that.
        guard !hasFallenBack, !mapped.isEmpty else { return [] }
        return unmapped.filter { payload in
            payload.upperBound <= end && !mapped.contains { $0.contains(payload) }
        }
    }

    static func hasMapping(_ options: borrowing TCPOptions) -> Bool { mapping(in: options) != nil }

    private static func mapping(in options: borrowing TCPOptions) -> (range: Range<Int>, isOwn: Bool)? {
        for range in options.ranges(of: TCPOptionKind.mptcp) {
            let option = options.span.extracting(range)
            if let dss = DSSOption(option), dss.hasMapping {
                let place = option.count - 14
                let start = Int(option.loadUInt32(at: place + 8)) - 1
                let mapping = start..<start + Int(option.loadUInt16(at: place + 12))
                return (mapping, option.loadUInt64(at: place) == dataSequence(start))
            }
            if option.count == 22, option[2] >> 4 == 0 { return (0..<Int(option.loadUInt16(at: 20)), true) }
        }
        return nil
    }
}
