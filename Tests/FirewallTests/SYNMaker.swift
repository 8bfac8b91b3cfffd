/// Makes TCP segments with arbitrary options, in IPv4 with options or IPv6 with extension headers.
struct SYNMaker {
    var flags: UInt8 = 0x02
    /// Multiple of 4, at most 40 bytes.
    var options: [UInt8] = []
    var payload: [UInt8] = []
    /// Multiple of 4, at most 40 bytes.
    var ipv4Options: [UInt8] = []
    /// A destination options header in front of TCP.
    var hasExtensionHeader = false

    var tcp: [UInt8] {
        let offset = UInt8(truncatingIfNeeded: (20 + options.count) / 4)
        let header: [UInt8] = [
            0x9C, 0x40, 0x1F, 0x90, 1, 2, 3, 4, 0, 0, 0, 0, offset << 4, flags, 0xFF, 0xFF, 0, 0, 0, 0,
        ]
        return header + options + payload
    }

    var ipv4: [UInt8] {
        let version = 0x40 | UInt8(truncatingIfNeeded: (20 + ipv4Options.count) / 4)
        let total = 20 + ipv4Options.count + tcp.count
        let header: [UInt8] = [
            version, 0, UInt8(truncatingIfNeeded: total >> 8), UInt8(truncatingIfNeeded: total), 0, 0, 0x40, 0, 64, 6,
            0, 0,
        ]
        return header + [10, 0, 0, 1, 10, 0, 0, 2] + ipv4Options + tcp
    }

    var ipv6: [UInt8] {
        let extensions: [UInt8] = hasExtensionHeader ? [6, 0, 1, 4, 0, 0, 0, 0] : []
        let length = extensions.count + tcp.count
        let header: [UInt8] = [
            0x60, 0, 0, 0, UInt8(truncatingIfNeeded: length >> 8), UInt8(truncatingIfNeeded: length),
            hasExtensionHeader ? 60 : 6, 64,
        ]
        let addresses = [UInt8](repeating: 0xFD, count: 16) + [UInt8](repeating: 0xFE, count: 16)
        return header + addresses + extensions + tcp
    }
}

/// SplitMix64: the same numbers in every run.
struct SeededGenerator: RandomNumberGenerator {
    var state: UInt64

    mutating func next() -> UInt64 {
        state &+= 0x9E37_79B9_7F4A_7C15
        var z = state
        z = (z ^ (z >> 30)) &* 0xBF58_476D_1CE4_E5B9
        z = (z ^ (z >> 27)) &* 0x94D0_49BB_1331_11EB
        return z ^ (z >> 31)
    }

    mutating func bytes(_ count: Int) -> [UInt8] { (0..<count).map { _ in UInt8.random(in: 0...255, using: &self) } }
}
