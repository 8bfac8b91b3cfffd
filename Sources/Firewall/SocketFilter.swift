/// One instruction of a classic BPF program (`struct sock_filter`).
public struct FilterInstruction: Sendable, Equatable {
    public var code: UInt16
    /// Instructions to skip if the comparison holds, or not.
    public var jumpTrue: UInt8
    public var jumpFalse: UInt8
    public var k: UInt32

    public init(_ code: UInt16, _ k: UInt32, jumpTrue: UInt8 = 0, jumpFalse: UInt8 = 0) {
        self.code = code
        self.k = k
        self.jumpTrue = jumpTrue
        self.jumpFalse = jumpFalse
    }
}

/// The opcodes that our filters use.
public enum FilterCode {
    /// X = 4 * (packet[k] & 15): the length of an IPv4 header.
    public static let loadHeaderLengthX: UInt16 = 0xB1
    /// A = the 16 bits at X + k, network byte order; beyond the packet the program returns 0.
    public static let loadHalfIndirect: UInt16 = 0x48
    public static let loadHalfAbsolute: UInt16 = 0x28
    public static let loadByteAbsolute: UInt16 = 0x30
    public static let loadByteIndirect: UInt16 = 0x50
    public static let loadConstantX: UInt16 = 0x01
    /// The program's own memory; k names the cell.
    public static let store: UInt16 = 0x02
    public static let loadStored: UInt16 = 0x60
    public static let loadStoredX: UInt16 = 0x61
    public static let moveToX: UInt16 = 0x07
    /// Of A, with X or k; 32 bits.
    public static let addX: UInt16 = 0x0C
    public static let add: UInt16 = 0x04
    public static let multiply: UInt16 = 0x24
    public static let and: UInt16 = 0x54
    public static let shiftLeft: UInt16 = 0x64
    public static let shiftRight: UInt16 = 0x74
    public static let modulo: UInt16 = 0x94
    public static let jumpIfEqual: UInt16 = 0x15
    public static let returnConstant: UInt16 = 0x06
}

public enum IPFamily: Sendable, Hashable, CaseIterable { case ipv4, ipv6 }

/// Which MP_JOIN option to look for: its length tells (RFC 8684 section 3.2).
public enum JoinSegment: Sendable, Hashable, CaseIterable {
    case syn
    case synAck

    /// Length of the option in bytes. The kernel takes a join with another length for none of this segment.
    var optionLength: Int { self == .syn ? 12 : 16 }
}

/// Classic BPF programs for xt_bpf (at most 64 instructions, data starts at the IP header): may this segment carry MP_JOIN?
///
/// cBPF cannot loop, so the program does not walk the options: it looks for the bytes kind, length at every offset where the
/// option fits. It never misses a join; it may take something else for one, which then merely needs a live daemon. There is no
/// room for the subtype: MP_CAPABLE is 4 bytes in a SYN and 12 in a SYN-ACK, so version 1 shares neither length (the 12-byte
/// MP_CAPABLE SYN of version 0, RFC 6824, is taken for a join).
public enum JoinFilter {
    static let mptcpKind = 30

    public static func program(_ family: IPFamily, _ segment: JoinSegment) -> [FilterInstruction] {
        // Options fill at most 40 bytes behind the 20 of the fixed header.
        let offsets = 20...(60 - segment.optionLength)
        let pattern = UInt32(mptcpKind << 8 | segment.optionLength)
        var program = prologue(family, searchLength: 2 * offsets.count)
        for offset in offsets {
            // To the last instruction, over the comparisons that remain and the `ret 0`.
            let remaining = 2 * (offsets.upperBound - offset) + 1
            program.append(load(family, tcpOffset: offset))
            program.append(.init(FilterCode.jumpIfEqual, pattern, jumpTrue: UInt8(truncatingIfNeeded: remaining)))
        }
        program.append(.init(FilterCode.returnConstant, 0))
        program.append(.init(FilterCode.returnConstant, 1))
        return program
    }

    /// IPv6 with extension headers counts as a join: the program does not walk them.
    private static func prologue(_ family: IPFamily, searchLength: Int) -> [FilterInstruction] {
        switch family {
        case .ipv4: [.init(FilterCode.loadHeaderLengthX, 0)]
        case .ipv6:
            [
                .init(FilterCode.loadByteAbsolute, 6),
                .init(FilterCode.jumpIfEqual, 6, jumpFalse: UInt8(truncatingIfNeeded: searchLength + 1)),
            ]
        }
    }

    private static func load(_ family: IPFamily, tcpOffset: Int) -> FilterInstruction {
        switch family {
        case .ipv4: .init(FilterCode.loadHalfIndirect, UInt32(tcpOffset))
        case .ipv6: .init(FilterCode.loadHalfAbsolute, UInt32(40 + tcpOffset))
        }
    }

    /// The text that `-m bpf --bytecode` takes.
    public static func bytecode(_ program: [FilterInstruction]) -> String {
        let instructions = program.map { "\($0.code) \($0.jumpTrue) \($0.jumpFalse) \($0.k)" }
        return "\(program.count)," + instructions.joined(separator: ",")
    }
}
