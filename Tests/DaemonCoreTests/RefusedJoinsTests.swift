import FlowEngine
import PacketWire
import Testing

@testable import DaemonCore

/// The log of refused joins: one line for the first of a cause, one for each period after it, and bounded memory.
@Suite struct RefusedJoinsTests {
    private func tuple(_ number: UInt32) -> FlowTuple {
        FlowTuple(
            local: Endpoint(address: IPAddress(ipv4: 0x0a00_0001), port: 80),
            remote: Endpoint(address: IPAddress(ipv4: 0x0a60_0000 &+ number), port: 7))
    }

    private func time(_ seconds: Int64) -> Instant { Instant(nanoseconds: seconds * 1_000_000_000) }

    @Test func theFirstIsToldTheOthersAreSummedUp() {
        var joins = RefusedJoins()
        let first = joins.note(tuple(1), .unknownToken, token: 0xabc, now: time(0))
        #expect(
            first == ["MPTCP join refused: 10.0.0.1:80 - 10.96.0.1:7: token 00000abc: token of no known connection"])
        for number in 0..<1_234 as Range<UInt32> {
            #expect(joins.note(tuple(number % 5), .unknownToken, token: number, now: time(30)).isEmpty)
        }
        #expect(joins.sumUp(now: time(59)).isEmpty)
        #expect(
            joins.sumUp(now: time(60)) == [
                "1234 more MPTCP joins from 5 addresses refused within 60 s: token of no known connection"
            ])
        #expect(joins.sumUp(now: time(61)).isEmpty)
        // In the next period, too.
        #expect(joins.note(tuple(9), .unknownToken, token: 1, now: time(62)).isEmpty)
        #expect(
            joins.note(tuple(9), .unknownToken, token: 1, now: time(130)) == [
                "1 more MPTCP join from 1 address refused within 70 s: token of no known connection"
            ])
        // The one that ended the period counts for the next.
        #expect(
            joins.sumUp(now: time(140), isLast: true) == [
                "1 more MPTCP join from 1 address refused within 10 s: token of no known connection"
            ])
        #expect(joins.causes == 0)
    }

    /// What has become rare is told like the first again.
    @Test func aQuietPeriodEndsACause() {
        var joins = RefusedJoins()
        #expect(joins.note(tuple(1), .noProof, token: 1, now: time(0)).count == 1)
        #expect(joins.sumUp(now: time(60)).isEmpty && joins.causes == 0)
        #expect(joins.note(tuple(1), .noProof, token: 1, now: time(61))[0].contains("token 00000001: no proof"))
    }

    /// Tokens count where they are those of connections; made-up ones are one cause.
    @Test func causes() {
        var joins = RefusedJoins()
        for token in 0..<4 as Range<UInt32> {
            #expect(joins.note(tuple(1), .badProof, token: token, now: time(0)).count == 1)
            #expect(joins.note(tuple(1), .noProof, token: token, now: time(0)).count == 1)
            #expect(joins.note(tuple(1), .unknownToken, token: token, now: time(0)).count == (token == 0 ? 1 : 0))
        }
        #expect(joins.note(tuple(1), .stopping, token: nil, now: time(0))[0].hasSuffix(":7: the daemon stops"))
        #expect(joins.causes == 10)
        #expect(joins.note(tuple(1), .badProof, token: 3, now: time(0)).isEmpty)
        #expect(
            joins.sumUp(now: time(60)).contains(
                "1 more MPTCP join from 1 address refused within 60 s: token 00000003: resumption identifier of no join chain"
            ))
    }

    @Test func memoryIsBounded() {
        var joins = RefusedJoins()
        var lines = 0
        for number in 0..<100_000 as Range<UInt32> {
            lines += joins.note(tuple(number), .badProof, token: number, now: time(0)).count
        }
        #expect(joins.causes == RefusedJoins.mostCauses + 1 && lines == joins.causes)
        let summary = joins.sumUp(now: time(60))
        #expect(
            summary == [
                "\(100_000 - lines) more MPTCP joins from 256 or more addresses refused within 60 s: resumption identifier of no join chain"
            ])
    }
}
