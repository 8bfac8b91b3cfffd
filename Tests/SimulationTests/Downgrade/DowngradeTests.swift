import FlowEngine
import Foundation
import TestSupport
import Testing

/// A downgrade is impossible inside an encrypted connection: no sequence of stripped, altered or replayed handshakes gets a plain or
/// foreign subflow into it.
///
/// Two engines under kernels that speak MPTCP, an attacker through whose hands all packets go (``Attack`` is what they do), and a model of
/// what may come of it (``HandshakeModel``). At every step:
/// a. what a kernel has established in a connection that is encrypted is encrypted, and its other end is the genuine one, of the same
///    connection, that saw the same handshake;
/// b. no application of an encrypted connection reads a byte that the other one did not write to that very subflow, or an end that it did
///    not set;
/// c. nothing that an application wrote is readable on the wire once its host has keys, or its connection;
/// d. no secret serves two connections, no nonce two frames;
/// e. and when the attacker rests, a new connection and joins from both ends come about, and joins of connections that still live.
///
/// `handshakes` is a walk by chance for each seed, `shortSequences` tries everything that can be done in a few moves to one handshake. What the
/// DSS options of established subflows say is left alone: nothing protects them.
///
/// These protections were taken away, each by itself, and 175 walks saw it (by which rule): joins without a name of the chain accepted as plain
/// (a, b, c), their kernel shown the third ACK before the proof (a, d), one chain for both openers (d), random numbers of MP_JOIN left out of the
/// nonce (a), a join completed by a SYN-ACK without ENO (a, b), a refused join forgotten while the kernel has it half-open (c).
@Suite struct DowngradeTests {
    private static let environment = ProcessInfo.processInfo.environment

    /// `TCPCRYPT_RUNS`, `TCPCRYPT_START` and `TCPCRYPT_SEED` as for the other simulations.
    @Test func handshakes() async {
        let tally = DowngradeTally()
        let portions = Runs.seeds(700)
        await withTaskGroup { group in
            for portion in portions {
                group.addTask {
                    await Runs.each(portion, "handshakes") { seed, trace in
                        let walk = HandshakeWalk(seed: seed, trace: trace)
                        walk.play()
                        tally.add(walk)
                        return Report(failures: walk.failures, trace: walk.world.simulation.network.trace.lines)
                    }
                }
            }
        }
        tally.judge()
    }

    /// Every sequence of up to two attacks on the packets of one join, and of one new connection beside an older one; of three with
    /// `TCPCRYPT_MOVES=3`. What led to the same state, as far as anybody can see it, is not gone on with twice.
    @Test(arguments: Exploration.Subject.allCases) func shortSequences(_ subject: Exploration.Subject) async {
        let depth = Self.environment["TCPCRYPT_MOVES"].flatMap(Int.init) ?? (subject == .joinsAtOnce ? 1 : 2)
        await Exploration(subject).run(depth: depth)
    }
}
