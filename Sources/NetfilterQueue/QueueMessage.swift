import CNetfilterQueue

/// Where in the stack a packet was queued (linux/netfilter.h, `enum nf_inet_hooks`).
public enum PacketHook: UInt8, Sendable, Hashable {
    case preRouting = 0
    case localIn, forward, localOut, postRouting
}

/// What the kernel told about one queued packet. Numbers are in host order.
public struct QueuedPacket: Sendable, Hashable {
    public var queue: UInt16
    /// The packet's name within its queue, for the verdict.
    public var number: UInt32 = 0
    /// Nil for a hook this code does not know.
    public var hook: PacketHook?
    /// The packet mark; 0 where it has none.
    public var mark: UInt32 = 0
    public var inputInterface: UInt32 = 0
    public var outputInterface: UInt32 = 0
    /// A super-packet that the kernel segments later (NFQA_SKB_GSO).
    public var isGSO = false
    /// The TCP checksum is not computed yet (NFQA_SKB_CSUMNOTREADY).
    public var isChecksumPending = false
    /// The whole length where only a part was copied (NFQA_CAP_LEN); such a packet cannot be translated.
    public var truncatedFrom: Int?
    /// Where the IP packet lies in the buffer.
    public var payload: Range<Int> = 0..<0

    public init(queue: UInt16) { self.queue = queue }
}

/// The numbers of nfnetlink_queue used here (linux/netfilter/nfnetlink_queue.h), as values of one width.
enum QueueProtocol {
    static let subsystem = UInt16(NFNL_SUBSYS_QUEUE) << 8
    static let packetMessage = subsystem | UInt16(NFQNL_MSG_PACKET.rawValue)

    static let payload = UInt16(NFQA_PAYLOAD.rawValue)
    static let configMask = UInt16(NFQA_CFG_MASK.rawValue)
    static let configFlags = UInt16(NFQA_CFG_FLAGS.rawValue)

    static let failOpen: UInt32 = 1 << 0
    static let gso: UInt32 = 1 << 2

    /// The largest value an attribute can hold: its length, header included, is 16 bits.
    static let maximumPayload = 65_531
}

extension Span<UInt8> {
    /// Reads an NFQNL_MSG_PACKET; nil for any other message and for one without a packet id.
    func queuedPacket(_ header: NetlinkHeader) -> QueuedPacket? {
        guard header.type == QueueProtocol.packetMessage, header.payload.count >= 4 else { return nil }
        var packet = QueuedPacket(queue: big16(header.payload.lowerBound + 2))
        let isNamed = unsafe withUnsafeBytes { memory in
            unsafe packet.read(memory, message: header.whole)
        }
        return isNamed && packet.payload.upperBound <= header.whole.upperBound ? packet : nil
    }
}

extension QueuedPacket {
    /// The attributes, as libnetfilter_queue finds and validates them; false without a packet id.
    fileprivate mutating func read(_ memory: UnsafeRawBufferPointer, message: Range<Int>) -> Bool {
        guard let base = memory.baseAddress else { return false }
        // The library writes one pointer per attribute type it knows: more than it does in any version so far.
        return unsafe withUnsafeTemporaryAllocation(of: UnsafeMutablePointer<nlattr>?.self, capacity: 64) { table in
            unsafe table.initialize(repeating: nil)
            let header = unsafe (base + message.lowerBound).assumingMemoryBound(to: nlmsghdr.self)
            guard unsafe nfq_nlmsg_parse(header, table.baseAddress) >= 0 else { return false }
            unsafe readNumbers(table)
            if let data = unsafe table[Int(NFQA_PAYLOAD.rawValue)], let bytes = unsafe mnl_attr_get_payload(data) {
                let start = unsafe UnsafeRawPointer(bytes) - base
                payload = unsafe start..<start + Int(mnl_attr_get_payload_len(data))
            }
            return unsafe readIdentity(table[Int(NFQA_PACKET_HDR.rawValue)])
        }
    }

    private mutating func readIdentity(_ attribute: UnsafeMutablePointer<nlattr>?) -> Bool {
        guard let attribute = unsafe attribute, unsafe mnl_attr_get_payload_len(attribute) >= 7,
            let value = unsafe mnl_attr_get_payload(attribute)
        else { return false }
        let identity = unsafe value.loadUnaligned(as: nfqnl_msg_packet_hdr.self)
        number = UInt32(bigEndian: identity.packet_id)
        hook = PacketHook(rawValue: identity.hook)
        return true
    }

    private mutating func readNumbers(_ table: UnsafeMutableBufferPointer<UnsafeMutablePointer<nlattr>?>) {
        func number(_ type: nfqnl_attr_type) -> UInt32? {
            guard let attribute = unsafe table[Int(type.rawValue)],
                unsafe mnl_attr_get_payload_len(attribute) >= 4
            else { return nil }
            return unsafe UInt32(bigEndian: mnl_attr_get_u32(attribute))
        }
        mark = number(NFQA_MARK) ?? 0
        inputInterface = number(NFQA_IFINDEX_INDEV) ?? 0
        outputInterface = number(NFQA_IFINDEX_OUTDEV) ?? 0
        truncatedFrom = number(NFQA_CAP_LEN).map { Int($0) }
        let info = number(NFQA_SKB_INFO) ?? 0
        isChecksumPending = info & 1 != 0
        isGSO = info & 2 != 0
    }
}
