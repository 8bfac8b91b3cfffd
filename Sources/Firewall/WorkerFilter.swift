import PacketWire

/// Classic BPF programs for xt_bpf (data starts at the IP header): does this packet belong to that worker?
///
/// The same as `WorkerSteering` in PacketWire, as far as a program without loops can see: in IPv6 it passes over two extension headers, in
/// front of what an error quotes over one. What it cannot read matches no worker.
public enum WorkerFilter {
    /// What the ports are read from.
    public enum Subject: Sendable, Hashable, CaseIterable {
        /// A TCP packet.
        case packet
        /// The packet that an ICMP error quotes, of those that ``ErrorFilter`` lets through.
        case quotedPacket
    }

    /// - Parameters:
    ///   - worker: below `workers`.
    ///   - workers: at least 1.
    public static func program(
        _ family: IPFamily, _ subject: Subject, worker: Int, of workers: Int
    ) -> [FilterInstruction] {
        let icmp = UInt32(8)
        return switch (family, subject) {
        case (.ipv4, .packet):
            [.init(FilterCode.loadHeaderLengthX, 0)] + ports(behind: 0, worker, workers)
        case (.ipv4, .quotedPacket):
            [
                .init(FilterCode.loadHeaderLengthX, 0),
                .init(FilterCode.loadByteIndirect, icmp), .init(FilterCode.and, 15), .init(FilterCode.shiftLeft, 2),
                .init(FilterCode.addX, 0), .init(FilterCode.moveToX, 0),
            ] + ports(behind: icmp, worker, workers)
        case (.ipv6, .packet):
            ipv6(at: 0, extensions: 2, ports(behind: 0, worker, workers))
        case (.ipv6, .quotedPacket):
            ipv6(at: 40 + icmp, extensions: 1, ports(behind: 0, worker, workers))
        }
    }

    /// The ports are at X + `offset`. The instruction before the last one is what a header that cannot be read goes to.
    private static func ports(behind offset: UInt32, _ worker: Int, _ workers: Int) -> [FilterInstruction] {
        [
            .init(FilterCode.loadHalfIndirect, offset), .init(FilterCode.store, 0),
            .init(FilterCode.loadHalfIndirect, offset + 2), .init(FilterCode.loadStoredX, 0),
            .init(FilterCode.addX, 0),
            .init(FilterCode.multiply, WorkerSteering.multiplier),
            .init(FilterCode.shiftRight, WorkerSteering.shift),
            .init(FilterCode.modulo, UInt32(truncatingIfNeeded: max(1, workers))),
            .init(FilterCode.jumpIfEqual, UInt32(truncatingIfNeeded: worker), jumpTrue: 1),
            .init(FilterCode.returnConstant, 0), .init(FilterCode.returnConstant, 1),
        ]
    }

    /// Sets X to where TCP begins behind an IPv6 header, then does what `rest` says.
    private static func ipv6(
        at header: UInt32, extensions: Int, _ rest: [FilterInstruction]
    ) -> [FilterInstruction] {
        // Put together from its end, as jumps count the instructions that follow.
        var program = [isTCP(otherwise: rest.count - 2)] + rest
        for _ in 0..<extensions {
            let length = UInt8(truncatingIfNeeded: program.count + passingOver.count - 2)
            program = ErrorFilter.anyOf([0, 43, 60], otherwise: length) + passingOver + program
            let toRest = UInt8(truncatingIfNeeded: program.count - rest.count)
            program.insert(.init(FilterCode.jumpIfEqual, tcp, jumpTrue: toRest), at: 0)
        }
        return [
            .init(FilterCode.loadConstantX, header + 40), .init(FilterCode.loadByteAbsolute, header + 6),
        ] + program
    }

    private static let tcp: UInt32 = 6

    private static func isTCP(otherwise skipped: Int) -> FilterInstruction {
        .init(FilterCode.jumpIfEqual, tcp, jumpFalse: UInt8(truncatingIfNeeded: skipped))
    }

    /// Moves X behind the extension header it points to, of 8 * (1 + its second byte) bytes; A becomes what follows.
    private static let passingOver: [FilterInstruction] = [
        .init(FilterCode.loadByteIndirect, 0), .init(FilterCode.store, 1), .init(FilterCode.loadByteIndirect, 1),
        .init(FilterCode.shiftLeft, 3), .init(FilterCode.add, 8), .init(FilterCode.addX, 0),
        .init(FilterCode.moveToX, 0), .init(FilterCode.loadStored, 1),
    ]
}
