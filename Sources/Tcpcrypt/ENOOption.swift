import PacketWire

/// TCP-ENO as an option of the TCP header (RFC 8547 section 4).
public enum ENO {
    /// IANA's option kind.
    public static let optionKind: UInt8 = TCPOptionKind.encryptionNegotiation
    /// The non-SYN form: its presence is all it says.
    public static let nonSYNOption: [UInt8] = [optionKind, 2]
}

/// Why a negotiation ended without encryption (RFC 8547 section 4.6).
public enum ENOFailure: Error, Hashable, Sendable {
    /// The peer's option names no TEP.
    case vacuous
    /// A length byte that does not fit (RFC 8547 section 4.4), or no ENO option at all.
    case illFormed
    /// No TEP that both sides sent, or none whose suboption data is valid.
    case noCommonTEP
    /// Both ends have the same passive role bit.
    case roleConflict
    /// This end is in mandatory application-aware mode, and the peer's bit a is not set (RFC 8547 section 4.2).
    case notApplicationAware
    /// The answer is our own offer: a host or middlebox that reflects unknown options.
    case echoed
    /// The answer resumes with an identifier other than the one offered (RFC 8548 section 3.5).
    case badResumption
}

/// What a host says with bit a, and wants of its peer (RFC 8547 section 4.2).
public enum ApplicationAwareness: String, Sendable, Hashable, CaseIterable {
    case off
    /// Bit a is set.
    case on
    /// It is set, and without the peer's there is no encryption: the mandatory application-aware mode.
    case mandatory

    /// Whether a peer that sent `option` is one to encrypt with.
    func admits(_ option: SYNFormENO) -> Bool { self != .mandatory || option.isApplicationAware }
}

/// A SYN-form ENO option, taken apart: what RFC 8547 section 4.2 says to ignore is gone.
public struct SYNFormENO: Hashable, Sendable {
    /// A TEP identifier with v = 0, or with v = 1 and data.
    public struct Suboption: Hashable, Sendable {
        /// The 7-bit identifier, 0x20...0x7f; not necessarily one of ``TEP``.
        public let identifier: UInt8
        /// Nil with v = 0.
        public let data: [UInt8]?

        public init(identifier: UInt8, data: [UInt8]? = nil) {
            self.identifier = identifier
            self.data = data
        }
    }

    /// The first global suboption, 0 where there is none.
    public let global: UInt8
    /// In the order sent.
    public let suboptions: [Suboption]

    static let passiveRole: UInt8 = 0x01
    static let applicationAware: UInt8 = 0x02
    static let variable: UInt8 = 0x80

    public init(global: UInt8, suboptions: [Suboption]) {
        self.global = global
        self.suboptions = suboptions
    }

    /// What we send: bits b and a, all others zero.
    static func global(_ role: Role, _ awareness: ApplicationAwareness) -> UInt8 {
        (role == .a ? 0 : passiveRole) | (awareness == .off ? 0 : applicationAware)
    }

    /// The role its sender claims (bit b, RFC 8547 section 4.3).
    public var role: Role { global & Self.passiveRole == 0 ? .a : .b }
    /// Bit a (RFC 8547 section 4.2).
    public var isApplicationAware: Bool { global & Self.applicationAware != 0 }
    public var isVacuous: Bool { suboptions.isEmpty }

    /// The suboption for `tep`, unless it stands there more than once, which tcpcrypt gives no meaning (RFC 8547
    /// section 4.5, rule 3).
    func suboption(for tep: TEP) -> Suboption? {
        let found = suboptions.filter { $0.identifier == tep.rawValue }
        return found.count == 1 ? found[0] : nil
    }
}

extension SYNFormENO {
    /// - Parameter option: the whole option, kind and length byte included.
    /// - Throws: ``ENOFailure/illFormed``.
    public init(parsing option: Span<UInt8>) throws(ENOFailure) {
        guard option.count >= 2, option[0] == ENO.optionKind, Int(option[1]) == option.count else {
            throw .illFormed
        }
        var global: UInt8?
        var suboptions: [Suboption] = []
        var index = 2
        while index < option.count {
            let byte = option[index]
            index += 1
            switch byte {
            case 0x00...0x1f:
                global = global ?? byte
            case 0x20...0x7f:
                suboptions.append(Suboption(identifier: byte))
            case 0x80...0x9f:
                let count = Int(byte & 0x1f) + 1
                guard index + 1 + count <= option.count, option[index] >= 0xa0 else { throw .illFormed }
                suboptions.append(Suboption(at: index, count: count, in: option))
                index += 1 + count
            default:
                suboptions.append(Suboption(at: index - 1, count: option.count - index, in: option))
                index = option.count
            }
        }
        self.init(global: global ?? 0, suboptions: suboptions)
    }

    /// The whole option. A suboption with data that is not last gets a length byte (RFC 8547 section 4.4); the
    /// caller keeps such data within 1...32 bytes, and the whole within the 40 bytes of TCP options.
    public func encoded() -> [UInt8] {
        var contents: [UInt8] = global == 0 ? [] : [global]
        for (position, suboption) in suboptions.enumerated() {
            guard let data = suboption.data else {
                contents.append(suboption.identifier)
                continue
            }
            if position < suboptions.count - 1 { contents.append(0x80 | UInt8(truncatingIfNeeded: data.count &- 1)) }
            contents.append(suboption.identifier | Self.variable)
            contents += data
        }
        return [ENO.optionKind, UInt8(truncatingIfNeeded: contents.count + 2)] + contents
    }
}

extension SYNFormENO.Suboption {
    /// The suboption whose identifier is at `index`, followed by `count` bytes of data.
    fileprivate init(at index: Int, count: Int, in option: Span<UInt8>) {
        identifier = option[index] & 0x7f
        data = (index + 1..<index + 1 + count).map { option[$0] }
    }

    /// What tcpcrypt reads in suboption data (RFC 8548 section 3.5).
    enum Reading {
        case fresh
        case resumption(HalfID, nonce: [UInt8])
        case invalid
    }

    static let maximumNonce = 8

    /// As a passive opener reads it: data too short for an identifier counts as v = 0.
    var reading: Reading {
        guard let data, data.count >= HalfID.length else { return .fresh }
        guard data.count <= HalfID.length + Self.maximumNonce,
            let half = HalfID(data.span.extracting(0..<HalfID.length))
        else { return .invalid }
        return .resumption(half, nonce: Array(data[HalfID.length...]))
    }

    static func resumption(_ tep: TEP, _ half: HalfID, nonce: [UInt8]) -> Self {
        Self(identifier: tep.rawValue, data: half.bytes + nonce.prefix(maximumNonce))
    }
}
