import CNetfilterQueue

/// Builds netlink messages one behind the other (linux/netlink.h): native byte order, everything aligned to 4.
///
/// libmnl and libnetfilter_queue write them; this type owns the memory they write to.
struct NetlinkMessageBuilder: Sendable {
    private var storage: [UInt8]
    /// Where the open message begins.
    private var start = 0
    /// Bytes of all finished messages.
    private(set) var count = 0

    init(capacity: Int = 4096) {
        storage = [UInt8](repeating: 0, count: capacity)
    }

    var isEmpty: Bool { count == 0 }

    /// What can still be written.
    var room: Int { storage.count - count }

    /// The finished messages.
    var bytes: [UInt8] { Array(storage[0..<count]) }

    mutating func removeAll() {
        count = 0
        start = 0
    }

    /// Opens a message whose fixed part after the netlink header is `extra`.
    mutating func begin(type: UInt16, flags: UInt16, sequence: UInt32 = 0, extra: [UInt8]) {
        unsafe openHeader { header in
            unsafe header.pointee.nlmsg_type = type
            unsafe header.pointee.nlmsg_flags = flags
            unsafe header.pointee.nlmsg_seq = sequence
            let target = unsafe mnl_nlmsg_put_extra_header(header, extra.count)
            unsafe target?.copyMemory(from: extra, byteCount: extra.count)
        }
    }

    /// Opens a message to nfnetlink_queue.
    mutating func begin(queueMessage type: UInt32, queue: UInt16, flags: UInt16 = 0, sequence: UInt32 = 0) {
        start = count
        unsafe withOpenMemory { base in
            guard let header = unsafe nfq_nlmsg_put(base, Int32(type), UInt32(queue)) else { return }
            unsafe header.pointee.nlmsg_flags |= flags
            unsafe header.pointee.nlmsg_seq = sequence
        }
        close()
    }

    /// Adds an attribute holding a big-endian number, as nfnetlink wants all of them.
    mutating func attribute(_ type: UInt16, big value: UInt32) {
        unsafe amend { header in unsafe mnl_attr_put_u32(header, type, value.bigEndian) }
    }

    /// Announces an attribute of `length` bytes that will be sent right behind the message, which it ends.
    ///
    /// No library function offers this: a packet of 64 KB should not be copied for its header's sake.
    mutating func attributeHeader(_ type: UInt16, length: Int) {
        unsafe amend { header in
            guard let attribute = unsafe mnl_nlmsg_get_payload_tail(header) else { return }
            unsafe mnl_attr_put(header, type, 0, nil)
            unsafe attribute.assumingMemoryBound(to: nlattr.self).pointee.nla_len = UInt16(4 + length)
        }
        amendLengthOnly(by: (length + 3) & ~3)
    }

    /// Lets a libnetfilter_queue function write into the message opened last, which grows by it.
    mutating func amend(_ body: (UnsafeMutablePointer<nlmsghdr>) -> Void) {
        unsafe withOpenMemory { base in
            unsafe body(UnsafeMutableRawPointer(base).assumingMemoryBound(to: nlmsghdr.self))
        }
        close()
    }

    /// The finished messages as memory for a system call.
    func withBytes<R>(_ body: (UnsafeRawBufferPointer) -> R) -> R {
        unsafe storage.withUnsafeBytes { unsafe body(UnsafeRawBufferPointer(rebasing: $0[0..<count])) }
    }
}

extension NetlinkMessageBuilder {
    private mutating func openHeader(_ body: (UnsafeMutablePointer<nlmsghdr>) -> Void) {
        start = count
        unsafe withOpenMemory { base in
            if let header = unsafe mnl_nlmsg_put_header(base) { unsafe body(header) }
        }
        close()
    }

    /// The memory of the open message. The callers keep within ``room``: all but payloads is less than 256 bytes.
    private mutating func withOpenMemory(_ body: (UnsafeMutablePointer<CChar>) -> Void) {
        let start = start
        precondition(storage.count - start >= 256, "netlink builder overflow")
        unsafe storage.withUnsafeMutableBytes { memory in
            guard let base = memory.baseAddress else { return }
            unsafe body((base + start).assumingMemoryBound(to: CChar.self))
        }
    }

    /// Makes the open message part of the finished ones.
    private mutating func close() {
        let length = Int(storage.span.native32(start))
        count = start + (length + 3) & ~3
    }

    /// Counts bytes that follow from elsewhere.
    private mutating func amendLengthOnly(by extra: Int) {
        let start = start
        unsafe storage.withUnsafeMutableBytes { memory in
            let length = unsafe memory.load(fromByteOffset: start, as: UInt32.self)
            unsafe memory.storeBytes(of: length &+ UInt32(extra), toByteOffset: start, as: UInt32.self)
        }
    }
}

// MARK: - Reading

/// The fixed header of one received message and where its payload lies.
struct NetlinkHeader: Hashable {
    static let error = UInt16(NLMSG_ERROR)
    static let done = UInt16(NLMSG_DONE)

    var type: UInt16
    var flags: UInt16
    var sequence: UInt32
    /// The message with its header.
    var whole: Range<Int>
    var payload: Range<Int> { whole.lowerBound + 16..<whole.upperBound }
}

extension Span<UInt8> {
    func big16(_ offset: Int) -> UInt16 { UInt16(self[offset]) << 8 | UInt16(self[offset + 1]) }

    func big32(_ offset: Int) -> UInt32 { UInt32(big16(offset)) << 16 | UInt32(big16(offset + 2)) }

    func native32(_ offset: Int) -> UInt32 { UInt32(bigEndian: big32(offset)) }

    /// The error number of an acknowledgement (NLMSG_ERROR), 0 for success; nil where it is cut.
    func errorNumber(_ header: NetlinkHeader) -> Int32? {
        guard header.type == NetlinkHeader.error, header.payload.count >= 4 else { return nil }
        let code = Int32(bitPattern: native32(header.payload.lowerBound))
        return code == .min ? nil : abs(code)
    }

    /// The netlink message at `cursor`, which moves behind it; nil at the end or where the rest is no message.
    func nextMessage(_ cursor: inout Int) -> NetlinkHeader? {
        guard cursor >= 0, cursor < count else { return nil }
        let start = cursor
        let rest = count - start
        let found: NetlinkHeader? = unsafe withUnsafeBytes { memory in
            guard let base = memory.baseAddress else { return nil }
            let message = unsafe (base + start).assumingMemoryBound(to: nlmsghdr.self)
            guard unsafe mnl_nlmsg_ok(message, Int32(clamping: rest)) else { return nil }
            // libmnl compares as signed: a length of 2 GB and more passes it (found by a test).
            let length = unsafe Int(message.pointee.nlmsg_len)
            guard length <= rest else { return nil }
            return unsafe NetlinkHeader(
                type: message.pointee.nlmsg_type, flags: message.pointee.nlmsg_flags,
                sequence: message.pointee.nlmsg_seq, whole: start..<start + length)
        }
        if let found { cursor = Swift.min(count, start + (found.whole.count + 3) & ~3) }
        return found
    }

    /// The attribute at the lower bound of `rest`, which moves behind it; nil at the end or where the rest is none.
    func nextAttribute(_ rest: inout Range<Int>) -> (type: UInt16, value: Range<Int>)? {
        guard rest.lowerBound >= 0, rest.upperBound <= count, !rest.isEmpty else { return nil }
        let range = rest
        let found: (type: UInt16, length: Int)? = unsafe withUnsafeBytes { memory in
            guard let base = memory.baseAddress else { return nil }
            let attribute = unsafe (base + range.lowerBound).assumingMemoryBound(to: nlattr.self)
            guard unsafe mnl_attr_ok(attribute, Int32(clamping: range.count)) else { return nil }
            return unsafe (mnl_attr_get_type(attribute), Int(mnl_attr_get_payload_len(attribute)))
        }
        guard let found else { return nil }
        let value = range.lowerBound + 4..<range.lowerBound + 4 + found.length
        rest = Swift.min(range.upperBound, (value.upperBound + 3) & ~3)..<range.upperBound
        return (found.type, value)
    }
}
