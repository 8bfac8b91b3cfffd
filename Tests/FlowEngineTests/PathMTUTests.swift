import PacketWire
import TestSupport
import Testing

@testable import FlowEngine

@Suite struct PathMTUTests {
    private static let now = Instant(nanoseconds: 1_000_000_000)

    private static func path(_ number: Int = 1, isIPv6: Bool = false) -> PathMTUs.Path {
        let address = { (last: Int) in
            isIPv6 ? IPAddress(ipv6High: 0xfd00 << 48, low: UInt64(last)) : IPAddress(ipv4: 0x0a00_0000 | UInt32(last))
        }
        return PathMTUs.Path(
            FlowTuple(
                local: Endpoint(address: address(99), port: 1), remote: Endpoint(address: address(number), port: 2)))
    }

    /// What a router says, what the kernel is told, and what fits the wire once the kernel's route says the same.
    @Test(arguments: [
        (false, 1480, 1460, 1480), (false, 1280, 1260, 1280), (false, 600, 580, 600), (false, 560, 552, 560),
        (false, 552, 552, 552), (true, 1492, 1472, 1492), (true, 1299, 1280, 1299), (true, 1280, 1280, 1280),
    ]) func roomForAFrame(_ isIPv6: Bool, _ announced: Int, _ told: Int, _ wire: Int) {
        var paths = PathMTUs()
        let path = Self.path(isIPv6: isIPv6)
        #expect(paths.learn(announced, path, route: 1500, Self.now) == told)
        #expect(paths.limits(path, route: told, Self.now) == (wire, told))
        #expect(paths.known(path, Self.now) == wire)
        // Asked before it was told, or unable to say.
        #expect(paths.limits(path, route: 1500, Self.now) == (wire, told))
        #expect(paths.limits(path, route: 0, Self.now) == (wire, told))
    }

    /// RFC 1191 section 7.1 has routers that do not tell, and forgers say anything: never less than the kernel believes.
    @Test(arguments: [0, 1, 68, 551]) func tooLittleToBelieve(_ announced: Int) {
        var paths = PathMTUs()
        #expect(paths.learn(announced, Self.path(), route: 1500, Self.now) == announced)
        // The kernel's packets of 552 bytes may be fragmented, so may ours.
        #expect(paths.limits(Self.path(), route: 552, Self.now) == (572, 552))
        let ipv6 = Self.path(isIPv6: true)
        #expect(paths.learn(announced, ipv6, route: 1500, Self.now) == announced)
        #expect(paths.limits(ipv6, route: 1500, Self.now) == (1500, 1500))
    }

    @Test func theLeastCounts() {
        var paths = PathMTUs()
        _ = paths.learn(1280, Self.path(), route: 1500, Self.now)
        // A packet that was under way when the path shrank, stopped earlier.
        #expect(paths.learn(1400, Self.path(), route: 1260, Self.now.adding(milliseconds: 5)) == 1380)
        #expect(paths.limits(Self.path(), route: 1260, Self.now.adding(milliseconds: 5000)) == (1280, 1260))
    }

    @Test func theKernelsRouteDecides() {
        var paths = PathMTUs()
        let later = Self.now.adding(milliseconds: 2000)
        _ = paths.learn(1280, Self.path(), route: 1500, Self.now)
        // Narrower, by somebody else's doing.
        #expect(paths.limits(Self.path(), route: 1000, Self.now) == (1000, 1000))
        // Forgotten: the path may have grown.
        #expect(paths.limits(Self.path(), route: 1500, later) == (1500, 1500))
        // So what a router says now counts, though it is more.
        #expect(paths.learn(1400, Self.path(), route: 1500, later) == 1380)
        #expect(paths.limits(Self.path(), route: 1380, later) == (1400, 1380))
        #expect(paths.limits(Self.path(2), route: 1380, later) == (1380, 1380))
    }

    @Test func timeAndRoomAreLimited() {
        var paths = PathMTUs()
        for number in 0..<PathMTUs.limit + 10 { _ = paths.learn(1280, Self.path(number), route: 1500, Self.now) }
        for _ in 0..<10 { _ = paths.learn(1280, Self.path(5000), route: 1500, Self.now) }
        #expect(paths.count <= PathMTUs.limit)
        #expect(paths.known(Self.path(0), Self.now) == nil && paths.known(Self.path(100), Self.now) == 1280)
        let old = Self.now.adding(milliseconds: PathMTUs.lifetime)
        #expect(paths.known(Self.path(100), old) == nil)
        #expect(paths.limits(Self.path(100), route: 1260, old) == (1260, 1260))
    }
}
