import CNetfilterQueue

/// Verdict messages (NFQNL_MSG_VERDICT) collected to leave in one system call.
struct VerdictBatch: Sendable {
    /// Replacements up to this length are copied into the batch; longer ones are sent from where they lie.
    static let copyLimit = 8_192
    /// What a verdict takes besides its packet, generously.
    static let overhead = 512

    var messages = NetlinkMessageBuilder(capacity: 65_536)

    mutating func accept(_ number: UInt32, queue: UInt16, mark: UInt32) {
        begin(number, queue: queue, verdict: NF_ACCEPT)
        unsafe messages.amend { unsafe nfq_nlmsg_verdict_put_mark($0, mark) }
    }

    mutating func accept(_ number: UInt32, queue: UInt16, mark: UInt32, replacement packet: Span<UInt8>) {
        accept(number, queue: queue, mark: mark)
        unsafe packet.withUnsafeBytes { bytes in
            unsafe messages.amend { unsafe nfq_nlmsg_verdict_put_pkt($0, bytes.baseAddress, UInt32(bytes.count)) }
        }
    }

    /// A replacement of which the bytes, padded to 4, must be sent right behind ``messages``.
    mutating func accept(_ number: UInt32, queue: UInt16, mark: UInt32, replacementLength: Int) {
        accept(number, queue: queue, mark: mark)
        messages.attributeHeader(QueueProtocol.payload, length: replacementLength)
    }

    mutating func drop(_ number: UInt32, queue: UInt16) {
        begin(number, queue: queue, verdict: NF_DROP)
    }

    private mutating func begin(_ number: UInt32, queue: UInt16, verdict: Int32) {
        messages.begin(queueMessage: NFQNL_MSG_VERDICT.rawValue, queue: queue)
        unsafe messages.amend { unsafe nfq_nlmsg_verdict_put($0, Int32(bitPattern: number), verdict) }
    }
}
