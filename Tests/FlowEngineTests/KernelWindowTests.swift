import PacketWire
import Tables
import Testing

@testable import FlowEngine

/// What the local kernel is told of the peer's window, which is counted in W.
@Suite struct KernelWindowTests {
    /// The window field in the client's kernel once the server's offers `window` behind `acknowledgment`.
    private func told(_ pair: Pair, window: UInt16, acknowledgment: UInt32 = 1001) -> UInt16? {
        pair.server.feed(
            TestSegment(
                source: pair.b, destination: pair.a, sequence: 5001, acknowledgment: acknowledgment, flags: .ack,
                window: window
            ).bytes, .outbound)
        pair.settle()
        return pair.client.takeKernel().last?.packet.window
    }

    private func flow(_ pair: Pair) throws -> Flow {
        try #require(pair.client.engine.flows[FlowTuple(local: pair.a, remote: pair.b)])
    }

    private func connected(window: UInt16) -> Pair {
        let pair = Pair()
        pair.clientSends(1000, 0, .syn, mss)
        pair.settle()
        // A SYN-ACK's window is the first that counts.
        pair.server.feed(
            TestSegment(
                source: pair.b, destination: pair.a, sequence: 5000, acknowledgment: 1001, flags: [.syn, .ack],
                window: window, options: mss
            ).bytes, .outbound)
        pair.settle()
        pair.clientSends(1001, 5001, .ack)
        pair.settle()
        _ = pair.client.takeKernel()
        return pair
    }

    /// All the window takes is sent; with the peer's own number some of it would wait here, sent as the kernel believes.
    @Test(arguments: [3000, 20_000, 60_000] as [UInt16]) func whatTheKernelMaySendFitsThePeersWindow(window: UInt16)
        throws
    {
        let pair = connected(window: window)
        let limit = try #require(told(pair, window: window))
        #expect(limit < window && Int(limit) > Int(window) * 9 / 10)
        var sent = 0
        while sent < Int(limit) {
            let data = [UInt8](repeating: 7, count: min(1428, Int(limit) - sent))
            pair.clientSends(1001 + UInt32(sent), 5001, [.ack, .psh], [], data)
            sent += data.count
        }
        #expect(try flow(pair).send.backlog.isEmpty)
    }

    /// Else a kernel without SACK would not count them as duplicates (RFC 5681 section 2).
    @Test func repeatedAcknowledgementsTellTheSame() throws {
        let pair = connected(window: 30_000)
        let first = told(pair, window: 30_000)
        for number in 0..<3 as Range<UInt32> {
            pair.clientSends(1001 + number * 1000, 5001, [.ack, .psh], [], [UInt8](repeating: 7, count: 1000))
            _ = pair.client.takeWire()
            #expect(told(pair, window: 30_000) == first)
        }
    }

    /// A closed window is closed, and one too small for a frame is not: nothing would tell the kernel when it opens.
    @Test func tinyWindows() {
        let pair = connected(window: 20_000)
        #expect(told(pair, window: 0) == 0)
        #expect(told(pair, window: 10) == 10)
        let tiny = connected(window: 10)
        #expect(told(tiny, window: 10) == 1)
    }
}
