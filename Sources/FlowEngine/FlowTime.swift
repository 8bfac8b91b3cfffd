/// How long things may take, in milliseconds.
enum FlowTime {
    /// A handshake that gets no further: as long as Linux tries, and a little more.
    static let halfOpen: Int64 = 140_000
    /// After both FINs: TIME-WAIT and a little more.
    static let finished: Int64 = 70_000
    static let reset: Int64 = 5_000
    /// How long a peer may take to show that a reset without its signature is not its own.
    static let unsignedReset: Int64 = 3_000
    /// How long SYNs to a host that has encrypted before may stay unanswered before the offer is withdrawn.
    static let patienceWithKnown = unsignedReset + 500
    /// Aborted flows answer late packets with resets.
    static let aborted: Int64 = 60_000
    /// How long the local kernel's immediate answer may take, in nanoseconds.
    static let answer: Int64 = 1_000_000
    /// How long an acknowledgement of what arrived out of order may wait for more of it, in nanoseconds; less where the round
    /// trip is short, as in Linux (`tcp_comp_sack_delay_ns`).
    static let mostSACKDelay: Int64 = 1_000_000
    /// A round trip, in nanoseconds, over which frames are short from the beginning.
    static let longPath: Int64 = 5_000_000
    /// How long a retransmission makes frames short.
    static let lossy: Int64 = 10_000
    static let leastRetransmission: Int64 = 200
    static let delayedAck: Int64 = 2
    /// No kernel delays an acknowledgement for so long while pieces arrive (Linux: 40 ms), and none repeats what it sent sooner.
    static let kernelAnswer: Int64 = 100
    static let idleMemory: Int64 = 1_000
    static let leastProgress: Int64 = 10
    /// The same after a frame that did not authenticate, and how long after.
    static let suspiciousProgress: Int64 = 1_000
    static let suspicion: Int64 = 10_000
    static let mostRetries = 8
    /// How long after an acknowledgement a packet may still be on its way that was sent without knowing of it.
    static let stuckFrame: Int64 = 60_000
    static let stuckFrameAskedFor: Int64 = 300_000
    /// How long packets are held for a sender that is silent: longer than it may wait before it tries again.
    static let held: Int64 = 180_000
    /// The same before the sender has keys.
    static let heldUnproven: Int64 = 5_000
    /// How long a peer may take from the third ACK to its part of the key exchange, or to the proof of its join. Ours rides
    /// on the third ACK, so that an idle client sends it too.
    static let proof: Int64 = 60_000
    static let betweenChallenges: Int64 = 500
    static let idleBeforeReconcile: Int64 = 60_000
}
