/// Classic BPF programs for xt_bpf (data starts at the IP header): is this ICMP packet an error about a TCP packet?
///
/// Nothing else may match: echo, neighbour discovery and errors about other protocols are none of the daemon's business.
public enum ErrorFilter {
    /// Destination unreachable, time exceeded, parameter problem.
    static let ipv4Types: [UInt32] = [3, 11, 12]
    /// The same, and packet too big.
    static let ipv6Types: [UInt32] = [1, 2, 3, 4]
    private static let tcp: UInt32 = 6

    public static func program(_ family: IPFamily) -> [FilterInstruction] {
        var program: [FilterInstruction] = []
        switch family {
        case .ipv4:
            program = [
                .init(FilterCode.loadHeaderLengthX, 0),
                // The type; then the protocol in the quoted header.
                .init(FilterCode.loadByteIndirect, 0),
            ]
            program += anyOf(ipv4Types, otherwise: 2)
            program += [.init(FilterCode.loadByteIndirect, 8 + 9), .init(FilterCode.jumpIfEqual, tcp, jumpTrue: 1)]
        case .ipv6:
            // Nobody puts extension headers in front of an error. Of those in the quoted packet the first is passed over: only what
            // this host sends has one.
            program = [
                .init(FilterCode.loadByteAbsolute, 6), .init(FilterCode.jumpIfEqual, 58, jumpFalse: 12),
                .init(FilterCode.loadByteAbsolute, 40),
            ]
            program += anyOf(ipv6Types, otherwise: 7)
            program += [.init(FilterCode.loadByteAbsolute, 48 + 6), .init(FilterCode.jumpIfEqual, tcp, jumpTrue: 6)]
            program += anyOf([0, 43, 60], otherwise: 2)
            program += [.init(FilterCode.loadByteAbsolute, 48 + 40), .init(FilterCode.jumpIfEqual, tcp, jumpTrue: 1)]
        }
        return program + [.init(FilterCode.returnConstant, 0), .init(FilterCode.returnConstant, 1)]
    }

    /// Goes on with the next instruction where the accumulator is one of `values`, else over so many.
    static func anyOf(_ values: [UInt32], otherwise skipped: UInt8) -> [FilterInstruction] {
        values.enumerated().map { index, value in
            let remaining = UInt8(truncatingIfNeeded: values.count - 1 - index)
            return .init(
                FilterCode.jumpIfEqual, value, jumpTrue: remaining, jumpFalse: remaining == 0 ? skipped : 0)
        }
    }
}
