import Firewall
import Testing

@Suite struct ErrorFilterTests {
    private func ipv4(
        type: UInt8 = 3, quoted: UInt8 = 6, options: Int = 0, count: Int = 100
    ) -> [UInt8] {
        var packet: [UInt8] =
            [0x45 + UInt8(options / 4), 0, 0, 0, 0, 0, 0, 0, 64, 1] + [UInt8](repeating: 6, count: 10 + options)
        packet += [type, 4, 0, 0, 0, 0, 5, 0]
        packet += [0x45, 0, 0, 40, 0, 0, 0, 0, 64, quoted] + [UInt8](repeating: 6, count: 30)
        return Array(packet.prefix(count))
    }

    private func ipv6(type: UInt8 = 2, outer: UInt8 = 58, quoted: UInt8 = 6, next: UInt8 = 6, count: Int = 160)
        -> [UInt8]
    {
        var packet: [UInt8] = [0x60, 0, 0, 0, 0, 0, outer, 64] + [UInt8](repeating: 6, count: 32)
        packet += [type, 0, 0, 0, 0, 0, 5, 0]
        packet += [0x60, 0, 0, 0, 0, 0, quoted, 64] + [UInt8](repeating: 6, count: 32)
        packet += [next] + [UInt8](repeating: 6, count: 40)
        return Array(packet.prefix(count))
    }

    private func matches(_ family: IPFamily, _ packet: [UInt8]) throws -> Bool {
        try FilterInterpreter.run(ErrorFilter.program(family), packet) != 0
    }

    @Test(arguments: IPFamily.allCases) func jumpsStayInside(_ family: IPFamily) {
        let program = ErrorFilter.program(family)
        for (index, instruction) in program.enumerated() where instruction.code == FilterCode.jumpIfEqual {
            #expect(index + 1 + Int(max(instruction.jumpTrue, instruction.jumpFalse)) < program.count)
        }
    }

    @Test func typesOfIPv4() throws {
        for type in UInt8.min ... .max { #expect(try matches(.ipv4, ipv4(type: type)) == [3, 11, 12].contains(type)) }
        for length in stride(from: 4, through: 40, by: 4) { #expect(try matches(.ipv4, ipv4(options: length))) }
    }

    @Test func typesOfIPv6() throws {
        for type in UInt8.min ... .max { #expect(try matches(.ipv6, ipv6(type: type)) == (1...4).contains(type)) }
    }

    /// Errors about anything but TCP stay where they are.
    @Test func quotedProtocols() throws {
        for quoted in UInt8.min ... .max {
            #expect(try matches(.ipv4, ipv4(quoted: quoted)) == (quoted == 6))
            #expect(try matches(.ipv6, ipv6(quoted: quoted)) == [6, 0, 43, 60].contains(quoted))
            #expect(try !matches(.ipv6, ipv6(quoted: 60, next: quoted)) == (quoted != 6))
            #expect(try matches(.ipv6, ipv6(outer: quoted)) == (quoted == 58))
        }
    }

    @Test func truncatedPacketsMatchNothing() throws {
        for count in 0..<38 { #expect(try !matches(.ipv4, ipv4(count: count))) }
        for count in 0..<55 { #expect(try !matches(.ipv6, ipv6(count: count))) }
    }
}
