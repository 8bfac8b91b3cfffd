import PacketWire
import TestSupport

/// A segment taken apart, to be altered and put together again.
struct Forgery {
    var source: Endpoint
    var destination: Endpoint
    var header: TCPHeader
    /// Whole options, padding left out.
    var options: [[UInt8]]
    var payload: [UInt8]

    init(
        from source: Endpoint, to destination: Endpoint, _ header: TCPHeader, _ options: [[UInt8]],
        payload: [UInt8] = []
    ) {
        self.source = source
        self.destination = destination
        self.header = header
        self.options = options
        self.payload = payload
    }

    init?(_ packet: WirePacket) {
        guard let parsed = packet.parsed else { return nil }
        let all = TCPOptions(parsed, of: packet.bytes.span)
        var found: [[UInt8]] = []
        var index = 0
        while index + 1 < all.count {
            let length = Int(all.span[index + 1])
            guard length >= 2, index + length <= all.count else { break }
            found.append((index..<index + length).map { all.span[$0] })
            index += length
        }
        self.init(
            from: parsed.source, to: parsed.destination, TCPHeader(parsed), found,
            payload: Array(packet.bytes[parsed.payload]))
    }

    /// The packet, as far as its options fit; timestamps give way.
    var packet: WirePacket {
        var fitting = options
        if fitting.reduce(0, { $0 + $1.count }) > TCPOptions.capacity {
            fitting.removeAll { $0[0] == TCPOptionKind.timestamps }
        }
        var all = TCPOptions()
        for option in fitting { all.append(option) }
        var packet = WirePacket(
            PacketBuilder.packet(from: source, to: destination, header, options: all, payload: payload))
        packet.isForged = true
        return packet
    }

    // MARK: What it is

    var isSYN: Bool { header.flags.contains(.syn) }
    var isReset: Bool { header.flags.contains(.rst) }

    private func index(of kind: UInt8) -> Int? { options.firstIndex { $0[0] == kind } }

    /// The whole option.
    subscript(kind: UInt8) -> [UInt8]? {
        get { index(of: kind).map { options[$0] } }
        set {
            guard let place = index(of: kind) else {
                if let newValue { options.append(newValue) }
                return
            }
            if let newValue { options[place] = newValue } else { options.remove(at: place) }
        }
    }

    var eno: [UInt8]? {
        get { self[TCPOptionKind.encryptionNegotiation] }
        set { self[TCPOptionKind.encryptionNegotiation] = newValue }
    }

    var mptcp: [UInt8]? {
        get { self[TCPOptionKind.mptcp] }
        set { self[TCPOptionKind.mptcp] = newValue }
    }

    var isJoin: Bool { mptcp.map { $0.count > 2 && $0[2] >> 4 == 1 } ?? false }
    var isCapable: Bool { mptcp.map { $0.count > 2 && $0[2] >> 4 == 0 } ?? false }

    var stage: Stage {
        if isReset { return .other }
        if isSYN { return header.flags.contains(.ack) ? .synAck : .syn }
        if payload.starts(with: [0x15, 0x10, 0x1a, 0x0e]) || payload.starts(with: [0x09, 0x71, 0x05, 0xe0]) {
            return .keyExchange
        }
        let isThirdAck = eno != nil || isJoin || isCapable
        if isThirdAck { return .thirdAck }
        return payload.isEmpty ? .other : .frame
    }

    // MARK: Alterations; false where there is nothing to alter

    mutating func strip(_ kind: UInt8) -> Bool {
        guard let place = index(of: kind) else { return false }
        options.remove(at: place)
        return true
    }

    /// Where the suboption with data is, which runs to the end.
    private var resumption: Int? {
        eno.flatMap { option in option.indices.dropFirst(2).first { option[$0] >= 0xa0 } }
    }

    mutating func alterTEPs(_ variant: Int) -> Bool {
        guard var option = eno, option.count > 2 else { return false }
        let first = option.indices.dropFirst(2).first { option[$0] >= 0x20 }
        guard let first else { return false }
        switch variant {
        // Without what resumes, or the first one.
        case 0 where option[first] >= 0x80: option = Array(option[..<first]) + [option[first] & 0x7f]
        case 0: option.remove(at: first)
        // One nobody knows in its place.
        case 1: option[first] = option[first] & 0x80 | 0x27
        // One more in front.
        case 2: option.insert(0x21, at: first)
        // Another one.
        default: option[first] ^= 0x02
        }
        option[1] = UInt8(option.count)
        eno = option
        return true
    }

    mutating func alterRole(_ variant: Int) -> Bool {
        guard var option = eno, option.count > 2 else { return false }
        if option[2] < 0x20 {
            // Bit b, or all of the suboption.
            if variant == 0 { option[2] ^= 1 } else { option.remove(at: 2) }
        } else {
            option.insert(variant == 0 ? 1 : 2, at: 2)
        }
        option[1] = UInt8(option.count)
        eno = option
        return true
    }

    mutating func alterIdentifier(_ variant: Int) -> Bool {
        guard let start = resumption, var option = eno, start + 9 < option.count else { return false }
        option[start + (variant == 0 ? 1 : 9)] ^= 0x40
        eno = option
        return true
    }

    mutating func alterNonce(_ variant: Int) -> Bool {
        guard let start = resumption, var option = eno, start + 10 < option.count else { return false }
        if variant == 0 {
            option[option.count - 1] ^= 1
        } else {
            option.removeLast()
            option[1] = UInt8(option.count)
        }
        eno = option
        return true
    }

    /// The token of a join's SYN.
    var token: UInt32? {
        get {
            guard isJoin, let option = mptcp, option.count == 12 else { return nil }
            return option.span.loadUInt32(at: 4)
        }
        set {
            guard let newValue, isJoin, let option = mptcp, option.count == 12 else { return }
            var changed = Array(option[..<4])
            changed.append(bigEndian: newValue)
            mptcp = changed + option[8...]
        }
    }

    /// The random number of a join's SYN.
    var joinRandom: UInt32? {
        guard isJoin, let option = mptcp, option.count == 12 else { return nil }
        return option.span.loadUInt32(at: 8)
    }

    mutating func alterRandom() -> Bool {
        guard isJoin, var option = mptcp, option.count == 12 || option.count == 16 else { return false }
        option[option.count - 1] ^= 0x10
        mptcp = option
        return true
    }

    mutating func alterAddressID() -> Bool {
        guard isJoin, var option = mptcp else { return false }
        option[3] &+= 3
        mptcp = option
        return true
    }

    mutating func alterKeyExchange(_ place: Int) -> Bool {
        guard stage == .keyExchange, !payload.isEmpty else { return false }
        payload[place % payload.count] ^= 0x20
        return true
    }
}

/// MPTCP options of the attacker's making. What needs a key or an HMAC has it: the keys went over the wire in clear, and the modelled
/// kernels take any HMAC for right.
enum MPTCPForgery {
    static func capableSYN() -> [UInt8] { [TCPOptionKind.mptcp, 4, 0x01, 0x01] }

    static func capableSYNACK(key: UInt64) -> [UInt8] {
        var option: [UInt8] = [TCPOptionKind.mptcp, 12, 0x01, 0x01]
        option.append(bigEndian: key)
        return option
    }

    static func capableACK(sender: UInt64, receiver: UInt64) -> [UInt8] {
        var option: [UInt8] = [TCPOptionKind.mptcp, 20, 0x01, 0x01]
        option.append(bigEndian: sender)
        option.append(bigEndian: receiver)
        return option
    }

    static func joinSYN(token: UInt32, random: UInt32) -> [UInt8] {
        var option: [UInt8] = [TCPOptionKind.mptcp, 12, 0x10, 7]
        option.append(bigEndian: token)
        option.append(bigEndian: random)
        return option
    }

    static func joinSYNACK(random: UInt32) -> [UInt8] {
        var option: [UInt8] = [TCPOptionKind.mptcp, 16, 0x10, 7] + [UInt8](repeating: 0x77, count: 8)
        option.append(bigEndian: random)
        return option
    }

    static let joinACK: [UInt8] = [TCPOptionKind.mptcp, 24, 0x10, 0] + [UInt8](repeating: 0x77, count: 20)

    static let acknowledgement: [UInt8] = [TCPOptionKind.mptcp, 12, 0x20, 0x03] + [UInt8](repeating: 0x11, count: 8)
}
