import PathDevices
import Testing

@Suite struct SpecificationTests {
    @Test func wordsInOrder() throws {
        let path = try PathSpecification(parsing: "delay=25ms, loss=1% rate=100mbit,queue=250kB burst=0.5%:8\trenumber")
        #expect(
            path.devices == [
                .delay(25_000_000), .loss(0.01), .rate(BitRate(bitsPerSecond: 100_000_000), queue: 250_000),
                .burst(0.005, run: 8), .renumber,
            ])
        #expect(try PathSpecification(parsing: " , ").devices.isEmpty)
    }

    @Test(arguments: [
        ("delay=1.5s", DeviceSpecification.delay(1_500_000_000)), ("jitter=200us", .jitter(200_000)),
        ("rate=64kbit", .rate(BitRate(bitsPerSecond: 64_000), queue: nil)), ("loss=0.25", .loss(0.25)),
        ("reorder=1%:5ms", .reorder(0.01, extra: 5_000_000)), ("mtu=1280", .mtu(1280, isSilent: false)),
        ("mtu=1400:silent", .mtu(1400, isSilent: true)), ("coalesce", .coalesce(limit: 1500)),
        ("coalesce=900", .coalesce(limit: 900)), ("clear-options", .clearOptions(all: false)),
        ("clear-options=all", .clearOptions(all: true)), ("strip-eno=synack", .stripENO(.synAck)),
        ("strip-mptcp=data", .stripMPTCP(.data)), ("clamp-mss=1200", .clampMSS(1200)), ("split=600", .split(600)),
        ("duplicate=100%", .duplicate(1)), ("corrupt=0.1%", .corrupt(0.001)), ("tamper=0", .tamper(0)),
        ("proxy-ack", .proxyAck), ("syn-proxy", .synProxy(size: 1440)), ("syn-proxy=500", .synProxy(size: 500)),
    ])
    func everyDevice(_ word: String, _ device: DeviceSpecification) throws {
        #expect(try PathSpecification(parsing: word).devices == [device])
        #expect(DeviceKind.all.contains { $0.name == device.name })
    }

    @Test(arguments: [
        "delay", "delay=", "delay=5", "delay=-5ms", "delay=nans", "delay=infs", "delay=1e9s", "delay=5000s",
        "delay=1ms1",
        "delay=0x1s", "delay=.ms", "delay=1..2ms", "rate=0mbit", "rate=1", "rate=99999gbit", "queue=3kB",
        "loss=1% queue=3kB", "rate=1mbit queue=0B", "rate=1mbit queue=5", "loss=101%", "loss=1.01", "loss=%", "loss=一%",
        "burst=1%", "burst=1%:", "burst=1%:0", "burst=1%:8:9", "burst=1%:+8", "reorder=1%", "reorder=5ms:1%", "mtu=10",
        "mtu=70000", "mtu=1280:loud", "mtu=:silent", "split=0", "split=99999999999999999999", "renumber=1",
        "strip-eno=all", "strip-mptcp=", "clear-options=some", "clamp-mss=1.5", "=", "=5", "flood", "DELAY=5ms", "\0",
        "delay=5ms=6ms", "delay=\(String(repeating: "9", count: 5000))ms",
        String(repeating: "renumber ", count: 101),
    ])
    func hostileTextGivesAnError(_ text: String) {
        #expect(throws: PathSpecificationError.self) { try PathSpecification(parsing: text) }
    }

    @Test func errorsSayWhatAndWhy() {
        let error = #expect(throws: PathSpecificationError.self) {
            try PathSpecification(parsing: "loss=1% delay=25")
        }
        #expect("\(error, default: "")" == "'delay=25': a number with a unit is wanted: ns, us, ms, s")
    }

    @Test func helpFitsATerminal() {
        for kind in DeviceKind.all { #expect(kind.summary.count <= 49 && kind.usage.count < 28, "\(kind.name)") }
    }
}
