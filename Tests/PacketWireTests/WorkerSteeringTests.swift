import PacketWire
import Testing

@Suite struct WorkerSteeringTests {
    @Test(arguments: 1...16) func bothDirectionsMeet(_ workers: Int) {
        for source in stride(from: UInt16(1), to: 65_000, by: 997) {
            for destination in stride(from: UInt16(3), to: 65_000, by: 1009) {
                let worker = WorkerSteering.worker(of: source, destination, among: workers)
                #expect((0..<workers).contains(worker))
                #expect(WorkerSteering.worker(of: destination, source, among: workers) == worker)
            }
        }
    }

    /// Linux gives even ports to those who connect.
    @Test(arguments: [2, 4], [UInt16(80), 443, 5001, 9001]) func evenPortsSpread(_ workers: Int, _ server: UInt16) {
        for first in stride(from: UInt16(32_768), to: 58_000, by: 1237) {
            var counts = [Int](repeating: 0, count: workers)
            for index in 0..<UInt16(1000) {
                counts[WorkerSteering.worker(of: first + 2 * index, server, among: workers)] += 1
            }
            let share = 1000 / workers
            #expect(counts.allSatisfy { abs($0 - share) <= share / 5 }, "\(counts)")
        }
    }

    @Test func theFormula() {
        #expect(
            WorkerSteering.worker(of: 65_535, 65_535, among: 16) == Int((131_070 &* 0x9E37_79B1 as UInt32) >> 16) % 16)
        #expect(WorkerSteering.worker(of: 1, 2, among: 1) == 0)
    }

    @Test func whatIsNoConnectionIsNobodys() {
        let empty: [UInt8] = []
        #expect(WorkerSteering.worker(of: empty.span, among: 4) == nil)
        #expect(WorkerSteering.worker(of: [UInt8](repeating: 0x45, count: 60).span, among: 4) == nil)
    }
}
