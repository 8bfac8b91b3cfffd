import Firewall
import Testing

@Suite struct JoinFilterTests {
    private let mss: [UInt8] = [2, 4, 5, 0xB4]
    private let sackPermitted: [UInt8] = [4, 2]
    private let timestamps: [UInt8] = [8, 10, 1, 2, 3, 4, 0, 0, 0, 0]
    private let windowScale: [UInt8] = [3, 3, 7]
    private let joinSYN: [UInt8] = [30, 12, 0x10, 1, 0xAA, 0xBB, 0xCC, 0xDD, 1, 2, 3, 4]
    private let joinSYNACK: [UInt8] = [30, 16, 0x10, 1, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12]
    private let capableSYN: [UInt8] = [30, 4, 0x01, 0x81]
    private let capableSYNACK: [UInt8] = [30, 12, 0x01, 0x81, 1, 2, 3, 4, 5, 6, 7, 8]

    private func padded(_ options: [UInt8]) -> [UInt8] {
        options + [UInt8](repeating: 1, count: (4 - options.count % 4) % 4)
    }

    private func matches(_ segment: JoinSegment, _ maker: SYNMaker) throws -> [Bool] {
        [
            try FilterInterpreter.run(JoinFilter.program(.ipv4, segment), maker.ipv4) != 0,
            try FilterInterpreter.run(JoinFilter.program(.ipv6, segment), maker.ipv6) != 0,
        ]
    }

    @Test(arguments: IPFamily.allCases, JoinSegment.allCases)
    func theProgramFitsXtBPF(_ family: IPFamily, _ segment: JoinSegment) {
        let program = JoinFilter.program(family, segment)
        #expect(program.count <= 64)
        // iptables-restore refuses words of 1024 bytes and more.
        #expect(JoinFilter.bytecode(program).utf8.count < 1000)
        for (index, instruction) in program.enumerated() where instruction.code == FilterCode.jumpIfEqual {
            let longest = Int(max(instruction.jumpTrue, instruction.jumpFalse))
            #expect(index + 1 + longest < program.count)
        }
    }

    @Test func theBytecodeIsWhatIptablesTakes() {
        let text = JoinFilter.bytecode([.init(FilterCode.loadHalfIndirect, 20), .init(0x15, 7692, jumpTrue: 1)])
        #expect(text == "2,72 0 0 20,21 1 0 7692")
    }

    @Test func everyJoinIsCaughtAtEveryOffset() throws {
        for offset in 0...28 {
            let tail = [UInt8](repeating: 1, count: (40 - offset - 12) % 4)
            let options = [UInt8](repeating: 1, count: offset) + joinSYN + tail
            #expect(try matches(.syn, SYNMaker(options: options)) == [true, true], "offset \(offset)")
        }
        for offset in 0...24 {
            let tail = [UInt8](repeating: 1, count: (40 - offset - 16) % 4)
            let options = [UInt8](repeating: 1, count: offset) + joinSYNACK + tail
            #expect(try matches(.synAck, SYNMaker(flags: 0x12, options: options)) == [true, true], "offset \(offset)")
        }
    }

    @Test(arguments: [0, 4, 8, 20, 40]) func theIPv4HeaderLengthIsHonoured(_ length: Int) throws {
        let options = [UInt8](repeating: 1, count: length)
        let join = SYNMaker(options: padded(mss + joinSYN), ipv4Options: options)
        let other = SYNMaker(options: padded(mss + sackPermitted + timestamps), ipv4Options: options)
        #expect(try matches(.syn, join)[0])
        #expect(try !matches(.syn, other)[0])
    }

    @Test func everyLayoutOfTheUsualOptions() throws {
        for layout in permutations([mss, sackPermitted, timestamps, windowScale]) {
            for count in 0...layout.count {
                let usual = Array(layout.prefix(count).joined())
                #expect(try matches(.syn, SYNMaker(options: padded(usual))) == [false, false])
                for position in 0...count {
                    var options = Array(layout.prefix(count))
                    options.insert(joinSYN, at: position)
                    #expect(try matches(.syn, SYNMaker(options: padded(Array(options.joined())))) == [true, true])
                    options[position] = capableSYN
                    #expect(try matches(.syn, SYNMaker(options: padded(Array(options.joined())))) == [false, false])
                }
            }
        }
    }

    @Test func randomOptionsNeverHideAJoin() throws {
        var random = SeededGenerator(state: 7)
        for _ in 0..<20_000 {
            let before = random.bytes(Int.random(in: 0...28, using: &random))
            var options = before + [30, 12, 0x10 | UInt8.random(in: 0...15, using: &random)] + random.bytes(9)
            options += random.bytes((40 - options.count) % 4)
            let maker = SYNMaker(options: options, payload: random.bytes(Int.random(in: 0...9, using: &random)))
            #expect(try matches(.syn, maker) == [true, true])
        }
    }

    @Test func randomOptionsWithoutThePatternPass() throws {
        var random = SeededGenerator(state: 8)
        for _ in 0..<20_000 {
            let options = random.bytes(4 * Int.random(in: 0...10, using: &random))
            let hasPattern = zip(options, options.dropFirst()).contains { $0 == 30 && $1 == 12 }
            guard !hasPattern else { continue }
            #expect(try matches(.syn, SYNMaker(options: options)) == [false, false])
        }
    }

    /// The kernel looks at the length first (mptcp_parse_option): subtype 1 with another length is no join of this segment.
    @Test func joinsOfOtherLengthsAreNotForUs() throws {
        for length in 4...40 where length != 12 && length % 4 == 0 {
            let body = [UInt8](repeating: 0xEE, count: length - 3)
            let options = [30, UInt8(truncatingIfNeeded: length), 0x10] + body
            #expect(try matches(.syn, SYNMaker(options: options)) == [false, false], "length \(length)")
        }
    }

    @Test func aSYNACKWithAllKeysIsNoJoin() throws {
        let options = padded(mss + sackPermitted + timestamps + windowScale + capableSYNACK)
        #expect(try matches(.synAck, SYNMaker(flags: 0x12, options: options)) == [false, false])
    }

    @Test func extensionHeadersCountAsJoin() throws {
        let maker = SYNMaker(options: mss, hasExtensionHeader: true)
        for segment in JoinSegment.allCases {
            #expect(try FilterInterpreter.run(JoinFilter.program(.ipv6, segment), maker.ipv6) == 1)
        }
    }

    @Test func truncatedPacketsMatchNothing() throws {
        let whole = SYNMaker(options: padded(mss + joinSYN)).ipv4
        for length in 0..<40 {
            #expect(try FilterInterpreter.run(JoinFilter.program(.ipv4, .syn), Array(whole.prefix(length))) == 0)
        }
    }
}

private func permutations<T>(_ items: [T]) -> [[T]] {
    guard let first = items.first else { return [[]] }
    return permutations(Array(items.dropFirst())).flatMap { rest in
        (0...rest.count).map { position in
            var copy = rest
            copy.insert(first, at: position)
            return copy
        }
    }
}
