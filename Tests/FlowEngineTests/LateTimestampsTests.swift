import FlowEngine
import PacketWire
import Testing

/// Resumed subflows of MPTCP, whose SYN-ACKs have no room for timestamps.
@Suite struct LateTimestampsTests {
    /// Opens a second subflow, each kernel with timestamps if it has been told of some; returns the wire's packets.
    private func join(_ first: Pair, echo: UInt8 = 0) -> (pair: Pair, toServer: [Seen], toClient: [Seen], wire: [Seen])
    {
        _ = first.server.takeKernel()
        _ = first.client.takeKernel()
        let pair = Pair(port: 40_001, client: first.client, server: first.server)
        pair.clientSends(2000, 0, .syn, Multipath.synOptions(joinSYN(Multipath.token(Multipath.keyB))))
        pair.settle()
        let toServer = first.server.takeKernel()
        pair.serverSends(6000, 2001, [.syn, .ack], Multipath.synOptions(joinSYNACK))
        pair.settle()
        let toClient = first.client.takeKernel()
        pair.clientSends(2001, 6001, .ack, [1, 1, 8, 10, 0, 0, 0, 2, 0, 0, 0, echo] + joinACK)
        pair.settle()
        return (pair, toServer, toClient, pair.wire)
    }

    @Test func theyBeginWithTheThirdACK() throws {
        let first = Pair()
        Multipath(first).connect()
        let (pair, toServer, toClient, wire) = join(first)
        let syns = wire.filter { $0.packet.flags.contains(.syn) }
        #expect(syns.count == 2 && syns.allSatisfy { $0.options.timestamps == nil })
        for told in [toServer.first, toClient.first] {
            let timestamps = try #require(told?.options.timestamps)
            #expect(timestamps == (0, 0))
        }
        let third = try #require(wire.last { !$0.packet.flags.contains(.syn) && $0.packet.destination == pair.b })
        #expect(third.options.timestamps?.value == 2)
        let delivered = try #require(first.server.takeKernel().last)
        #expect(delivered.options.timestamps?.value == 2)
        pair.serverSends(6001, 2001, [.ack, .psh], [1, 1, 8, 10, 0, 0, 0, 9, 0, 0, 0, 2] + Multipath.dss, [1, 2, 3])
        pair.settle()
        let seen = try #require(first.client.takeKernel().last)
        #expect(seen.payload == [1, 2, 3])
        let timestamps = try #require(seen.options.timestamps)
        #expect(timestamps == (9, 2))
    }

    /// While it waits for the third ACK, a kernel takes the echo of its SYN-ACK's timestamp only, and may have hidden options in it (SYN
    /// cookies): though the peer was told of none, or has heard a later one of the engine's.
    @Test(arguments: [0, 9] as [UInt8]) func theEchoOfTheSYNACKIsRestored(echo: UInt8) throws {
        let first = Pair()
        Multipath(first).connect()
        _ = join(first, echo: echo)
        let delivered = try #require(first.server.takeKernel().last)
        #expect(delivered.options.timestamps?.echo == 1)
    }

    /// A SYN-ACK that is repeated without ENO has no room for them.
    @Test func repetitionsAreNotLengthened() throws {
        let first = Pair()
        Multipath(first).connect()
        let (pair, _, _, _) = join(first)
        first.client.feed(
            TestSegment(
                source: pair.b, destination: pair.a, sequence: 6000, acknowledgment: 2001, flags: [.syn, .ack],
                options: [2, 4, 5, 180, 4, 2, 3, 3, 7] + joinSYNACK
            ).bytes, .inbound)
        let told = try #require(first.client.takeKernel().last)
        #expect(told.packet.flags == [.syn, .ack] && told.options.timestamps == nil)
    }

    /// The kernel of a peer whose first subflow had no timestamps is offered none.
    @Test func noneWithoutThoseOfTheFirstSubflow() throws {
        let first = Pair()
        let without: [UInt8] = [2, 4, 5, 180, 4, 2, 1, 3, 3, 7]
        first.clientSends(1000, 0, .syn, without + [30, 4, 1, 1])
        first.settle()
        first.serverSends(5000, 1001, [.syn, .ack], without + [30, 12, 1, 1] + Multipath.keyB)
        first.settle()
        first.clientSends(1001, 5001, .ack, Multipath.thirdACK)
        first.settle()
        let told = try #require(join(first).toServer.first)
        #expect(told.options.timestamps == nil)
    }
}
