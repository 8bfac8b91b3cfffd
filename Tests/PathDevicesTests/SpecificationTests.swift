import PathDevices
import Testing

@Suite struct SpecificationTests {
    @Test func wordsInOrder() throws {
        let path = try PathSpecification(parsing: "delay=25ms, loss=1% rate=100mbit,queue=250kB burst=0.5%:8")
        #expect(
            path.devices == [
                .delay(25_000_000), .loss(0.01), .rate(BitRate(bitsPerSecond: 100_000_000), queue: 250_000),
                .burst(0.005, run: 8),
            ])
    }
}
