import Firewall
import PacketWire
import Testing

@Suite struct WorkerFilterTests {
    private static let counts = [2, 3, 4, 16]

    /// The worker whose program matches, as a chain of rules finds it.
    private func worker(
        _ family: IPFamily, _ subject: WorkerFilter.Subject, _ packet: [UInt8], among workers: Int
    ) throws -> Int {
        try (1..<workers).first {
            let program = WorkerFilter.program(family, subject, worker: $0, of: workers)
            return try FilterInterpreter.run(program, packet) != 0
        } ?? 0
    }

    private func expectAgreement(
        _ family: IPFamily, _ subject: WorkerFilter.Subject, _ packet: [UInt8], _ ports: (UInt16, UInt16)
    ) throws {
        for workers in Self.counts {
            let expected = WorkerSteering.worker(of: ports.0, ports.1, among: workers)
            #expect(try worker(family, subject, packet, among: workers) == expected)
            #expect(WorkerSteering.worker(of: packet.span, among: workers) == expected)
        }
    }

    @Test(arguments: IPFamily.allCases, WorkerFilter.Subject.allCases)
    func theProgramFitsXtBPF(_ family: IPFamily, _ subject: WorkerFilter.Subject) {
        let program = WorkerFilter.program(family, subject, worker: 15, of: 16)
        #expect(program.count <= 64)
        #expect(JoinFilter.bytecode(program).utf8.count < 1000)
        for (index, instruction) in program.enumerated() where instruction.code == FilterCode.jumpIfEqual {
            let longest = Int(max(instruction.jumpTrue, instruction.jumpFalse))
            #expect(index + 1 + longest < program.count)
        }
    }

    @Test func packetsOfIPv4() throws {
        var maker = PacketMaker(seed: 1)
        for _ in 0..<500 {
            let ports = maker.ports()
            try expectAgreement(.ipv4, .packet, maker.ipv4(maker.tcp(ports)), ports)
        }
    }

    @Test(arguments: 0...2) func packetsOfIPv6(_ extensions: Int) throws {
        var maker = PacketMaker(seed: 2)
        for _ in 0..<500 {
            let ports = maker.ports()
            let packet = maker.ipv6(maker.tcp(ports), extensions: extensions)
            try expectAgreement(.ipv6, .packet, packet, ports)
        }
    }

    @Test func quotesOfIPv4() throws {
        var maker = PacketMaker(seed: 3)
        for _ in 0..<500 {
            let ports = maker.ports()
            let quoted = maker.ipv4(maker.tcp(ports))
            let error: [UInt8] = [3, 4, 0, 0, 0, 0, 5, 0]
            try expectAgreement(.ipv4, .quotedPacket, maker.ipv4(error + quoted, transport: 1), ports)
        }
    }

    @Test(arguments: 0...1) func quotesOfIPv6(_ extensions: Int) throws {
        var maker = PacketMaker(seed: 4)
        for _ in 0..<500 {
            let ports = maker.ports()
            let quoted = maker.ipv6(maker.tcp(ports), extensions: extensions)
            let packet = maker.ipv6([2, 0, 0, 0, 0, 0, 5, 0] + quoted, transport: 58)
            #expect(try FilterInterpreter.run(ErrorFilter.program(.ipv6), packet) == 1)
            try expectAgreement(.ipv6, .quotedPacket, packet, ports)
        }
    }

    /// More headers than the program passes over, other protocols and what is cut short are worker 0's.
    @Test func theRestIsOfTheFirstWorker() throws {
        var maker = PacketMaker(seed: 5)
        for _ in 0..<100 {
            let tcp = maker.tcp(maker.ports())
            #expect(try worker(.ipv6, .packet, maker.ipv6(tcp, extensions: 3), among: 16) == 0)
            #expect(try worker(.ipv6, .packet, maker.ipv6(tcp, transport: 44), among: 16) == 0)
            let quoted = maker.ipv6(tcp, extensions: 2)
            let error = maker.ipv6([2, 0, 0, 0, 0, 0, 5, 0] + quoted, transport: 58)
            #expect(try worker(.ipv6, .quotedPacket, error, among: 16) == 0)
            let whole = maker.ipv4(tcp)
            for length in 0..<24 { #expect(try worker(.ipv4, .packet, Array(whole.prefix(length)), among: 16) == 0) }
        }
    }
}

/// Packets with random headers in front of TCP, sound enough for the parser.
private struct PacketMaker {
    private var random: SeededGenerator

    init(seed: UInt64) { random = SeededGenerator(state: seed) }

    mutating func ports() -> (UInt16, UInt16) {
        (UInt16.random(in: 0 ... .max, using: &random), UInt16.random(in: 0 ... .max, using: &random))
    }

    mutating func tcp(_ ports: (UInt16, UInt16)) -> [UInt8] {
        let numbers = [ports.0, ports.1].flatMap { [UInt8($0 >> 8), UInt8($0 & 0xFF)] }
        return numbers + random.bytes(8) + [0x50, 0x10] + random.bytes(6)
    }

    mutating func ipv4(_ payload: [UInt8], transport: UInt8 = 6) -> [UInt8] {
        let options = random.bytes(4 * Int.random(in: 0...10, using: &random))
        let count = 20 + options.count + payload.count
        let head: [UInt8] = [
            0x40 | UInt8(5 + options.count / 4), 0, UInt8(count >> 8), UInt8(count & 0xFF), 0, 0, 0x40, 0, 64,
            transport,
        ]
        return head + random.bytes(10) + options + payload
    }

    mutating func ipv6(_ payload: [UInt8], transport: UInt8 = 6, extensions: Int = 0) -> [UInt8] {
        var body = payload
        var next = transport
        for _ in 0..<extensions {
            let units = Int.random(in: 0...3, using: &random)
            body = [next, UInt8(units)] + random.bytes(6 + 8 * units) + body
            next = [0, 43, 60].randomElement(using: &random) ?? 0
        }
        let head: [UInt8] = [0x60, 0, 0, 0, UInt8(body.count >> 8), UInt8(body.count & 0xFF), next, 64]
        return head + random.bytes(32) + body
    }
}
