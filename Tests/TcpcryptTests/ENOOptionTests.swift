import Testing

@testable import Tcpcrypt

/// The SYN-form option (RFC 8547 sections 4.1 to 4.4).
@Suite struct ENOOptionTests {
    struct Case: Sendable, CustomTestStringConvertible {
        let testDescription: String
        let option: String
        /// Nil where the option is ill-formed.
        let parsed: SYNFormENO?
    }

    static let cases: [Case] = [
        Case(testDescription: "empty", option: "45 02", parsed: .init(global: 0, suboptions: [])),
        Case(
            testDescription: "one TEP", option: "45 03 23",
            parsed: .init(global: 0, suboptions: [.init(identifier: 0x23)])),
        Case(
            testDescription: "global and unknown TEP", option: "45 04 01 7f",
            parsed: .init(global: 1, suboptions: [.init(identifier: 0x7f)])),
        Case(
            testDescription: "only the first global counts (4.2)", option: "45 06 23 02 01 1f",
            parsed: .init(global: 2, suboptions: [.init(identifier: 0x23)])),
        Case(
            testDescription: "an explicit zero counts as the first", option: "45 05 00 01 23",
            parsed: .init(global: 0, suboptions: [.init(identifier: 0x23)])),
        Case(
            testDescription: "data to the end", option: "45 06 21 a3 aa bb",
            parsed: .init(
                global: 0, suboptions: [.init(identifier: 0x21), .init(identifier: 0x23, data: [0xaa, 0xbb])])),
        Case(
            testDescription: "more data to the end than a length byte can tell (4.4)",
            option: "45 28 01 a3" + String(repeating: " 5a", count: 36),
            parsed: .init(
                global: 1, suboptions: [.init(identifier: 0x23, data: [UInt8](repeating: 0x5a, count: 36))])),
        Case(
            testDescription: "data of no bytes", option: "45 03 a3",
            parsed: .init(global: 0, suboptions: [.init(identifier: 0x23, data: [])])),
        Case(
            testDescription: "length byte", option: "45 07 81 a3 aa bb 21",
            parsed: .init(
                global: 0, suboptions: [.init(identifier: 0x23, data: [0xaa, 0xbb]), .init(identifier: 0x21)])),
        Case(
            testDescription: "length byte, exact fit", option: "45 05 80 a3 aa",
            parsed: .init(global: 0, suboptions: [.init(identifier: 0x23, data: [0xaa])])),
        Case(testDescription: "length beyond the end (4.4, 1)", option: "45 05 81 a3 aa", parsed: nil),
        Case(testDescription: "length byte last", option: "45 03 80", parsed: nil),
        Case(testDescription: "length byte before v = 0 (4.4, 2)", option: "45 06 80 23 aa bb", parsed: nil),
        Case(testDescription: "length byte before a global", option: "45 06 80 01 aa bb", parsed: nil),
        Case(testDescription: "length byte before a length byte", option: "45 06 80 9f aa bb", parsed: nil),
        Case(testDescription: "wrong kind", option: "46 03 23", parsed: nil),
        Case(testDescription: "length says less", option: "45 02 23", parsed: nil),
        Case(testDescription: "length says more", option: "45 04 23", parsed: nil),
        Case(testDescription: "no length", option: "45", parsed: nil),
        Case(testDescription: "nothing", option: "", parsed: nil),
    ]

    @Test(arguments: cases)
    func parsing(_ test: Case) {
        #expect((try? SYNFormENO(test.option.hex)) == test.parsed)
    }

    @Test func bits() throws {
        let option = try SYNFormENO("45 04 03 23".hex)
        #expect(option.role == .b && option.isApplicationAware && !option.isVacuous)
        // Reserved bits are ignored (4.2).
        #expect(try SYNFormENO("45 04 1c 23".hex).role == .a)
    }

    @Test func roundTrip() throws {
        let random = SeededRandom(11)
        for _ in 0..<2_000 {
            let suboptions = (0..<random.below(4)).map { _ in
                SYNFormENO.Suboption(
                    identifier: UInt8(0x20 + random.below(0x60)),
                    data: random.below(2) == 0 ? nil : random.bytes(1 + random.below(8)))
            }
            let option = SYNFormENO(global: UInt8(random.below(0x20)), suboptions: suboptions)
            #expect(try SYNFormENO(option.encoded()) == option)
        }
    }

    /// No input traps; whatever parses has sane parts.
    @Test func fuzz() {
        let random = SeededRandom(12)
        for _ in 0..<50_000 {
            var option = random.bytes(random.below(41))
            if option.count >= 2, random.below(8) > 0 { (option[0], option[1]) = (69, UInt8(option.count)) }
            guard let parsed = try? SYNFormENO(option) else { continue }
            #expect(parsed.suboptions.allSatisfy { (0x20...0x7f).contains($0.identifier) })
            #expect(parsed.global < 0x20)
        }
    }
}
