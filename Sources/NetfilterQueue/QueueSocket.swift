import CNetfilterQueue
import Glibc
import SystemPackage

/// Why a queue cannot be served.
public enum QueueError: Error, Hashable, Sendable, CustomStringConvertible {
    /// Another process serves this queue number in this network namespace.
    case taken(queue: UInt16)
    /// CAP_NET_ADMIN is missing.
    case notPermitted
    case system(SystemCallError)

    public var description: String {
        switch self {
        case .taken(let queue):
            "queue \(queue): another program already serves this queue number in this network namespace"
        case .notPermitted: "netfilter queue: not permitted (root or CAP_NET_ADMIN is needed)"
        case .system(let error): error.description
        }
    }
}

/// One NFQUEUE number served over one netlink socket. Used by one thread.
///
/// Verdicts are collected and leave, in order, with ``flush()`` or when the batch is full.
/// Closing the socket drops every packet whose verdict is pending.
public struct QueueSocket: ~Copyable, Sendable {
    /// How the queue treats overload.
    public enum Overload: Sendable {
        /// Packets that find the queue full are dropped: the only safe way where an encrypted flow may pass.
        case drop
        /// They are accepted unseen: only for SYNs, which a full queue must not drop.
        case accept
    }

    public let queue: UInt16
    /// For poll: readable when packets wait.
    public var fileDescriptor: Int32 { socket.fileDescriptor }

    private let socket: NetlinkSocket
    private var verdicts = VerdictBatch()
    /// Packets that arrived while the queue was still being configured.
    private var early: [[UInt8]]

    /// Binds `queue`, asking for whole packets, super-packets included.
    public init(queue: UInt16, overload: Overload, maximumLength: UInt32 = 32_768) throws(QueueError) {
        let socket = try Self.open()
        let requests = Self.configuration(queue: queue, overload: overload, maximumLength: maximumLength)
        let early = try Self.configure(socket, queue: queue, requests)
        self.init(queue: queue, socket: socket, early: early)
    }

    private init(queue: UInt16, socket: consuming NetlinkSocket, early: [[UInt8]]) {
        self.queue = queue
        self.socket = socket
        self.early = early
    }

    private static func open() throws(QueueError) -> NetlinkSocket {
        do {
            return try tuned(NetlinkSocket(.netfilter))
        } catch  where error.errno == .notPermitted {
            throw .notPermitted
        } catch {
            throw .system(error)
        }
    }

    private static func tuned(_ socket: consuming NetlinkSocket) throws(SystemCallError) -> NetlinkSocket {
        let descriptor = socket.fileDescriptor
        let receive = SocketOption.receiveBufferForce
        try Descriptor.set(descriptor, level: SOL_SOCKET, option: receive, to: 64 << 20, "SO_RCVBUFFORCE")
        let send = SocketOption.sendBufferForce
        try Descriptor.set(descriptor, level: SOL_SOCKET, option: send, to: 4 << 20, "SO_SNDBUFFORCE")
        // A full receive buffer drops packets as the network does, and TCP repeats them: no error to handle.
        try socket.set(netlink: SocketOption.netlinkNoENOBUFS, to: 1, "NETLINK_NO_ENOBUFS")
        // Else each failed verdict comes back with its whole payload.
        try socket.set(netlink: SocketOption.netlinkCapAck, to: 1, "NETLINK_CAP_ACK")
        return socket
    }
}

// MARK: - Packets and verdicts

extension QueueSocket {
    /// Receives datagrams without blocking, no more than the buffer has room for.
    /// - Returns: whether more may wait. False is nothing to rely on: the next wait tells.
    public mutating func receive(
        into buffer: inout PacketBuffer, atMost limit: Int = PacketBuffer.capacity
    ) throws(SystemCallError) -> Bool {
        if !early.isEmpty {
            let first = early.removeFirst().prefix(PacketBuffer.slot)
            buffer.bytes.replaceSubrange(0..<first.count, with: first)
            buffer.lengths[0] = first.count
            buffer.parse(1)
            return true
        }
        let limit = min(max(1, limit), PacketBuffer.capacity)
        let count = try socket.receive(
            into: &buffer.bytes, slot: PacketBuffer.slot, atMost: limit, lengths: &buffer.lengths)
        buffer.parse(count)
        return count == limit
    }

    /// Lets packet `number` pass as it is, with `mark` in place of its packet mark.
    public mutating func accept(_ number: UInt32, mark: UInt32) throws(SystemCallError) {
        try makeRoom(for: 0)
        verdicts.accept(number, queue: queue, mark: mark)
    }

    /// Lets `packet`, a whole IP packet, pass in place of packet `number`.
    ///
    /// A packet longer than an attribute can hold (65,531 bytes) is dropped. A long one is not copied and leaves at
    /// once, behind the verdicts collected so far.
    public mutating func accept(
        _ number: UInt32, mark: UInt32, replacement packet: Span<UInt8>
    ) throws(SystemCallError) {
        guard packet.count <= QueueProtocol.maximumPayload else { return try drop(number) }
        if packet.count <= VerdictBatch.copyLimit {
            try makeRoom(for: packet.count)
            verdicts.accept(number, queue: queue, mark: mark, replacement: packet)
        } else {
            try makeRoom(for: 0)
            verdicts.accept(number, queue: queue, mark: mark, replacementLength: packet.count)
            defer { verdicts.messages.removeAll() }
            try socket.send(verdicts.messages, payload: packet)
        }
    }

    /// Drops packet `number`.
    public mutating func drop(_ number: UInt32) throws(SystemCallError) {
        try makeRoom(for: 0)
        verdicts.drop(number, queue: queue)
    }

    /// Sends the collected verdicts; the packets have gone on their way when it returns.
    public mutating func flush() throws(SystemCallError) {
        guard !verdicts.messages.isEmpty else { return }
        defer { verdicts.messages.removeAll() }
        try socket.send(verdicts.messages)
    }

    private mutating func makeRoom(for payload: Int) throws(SystemCallError) {
        if verdicts.messages.room < payload + VerdictBatch.overhead { try flush() }
    }
}

// MARK: - Configuration

extension QueueSocket {
    /// The configuration requests, in order; copying starts with the last, so no packet is queued half configured.
    static func configuration(queue: UInt16, overload: Overload, maximumLength: UInt32) -> [NetlinkMessageBuilder] {
        let flags = QueueProtocol.gso | (overload == .accept ? QueueProtocol.failOpen : 0)
        let mask = QueueProtocol.gso | QueueProtocol.failOpen
        let range = Int32(QueueProtocol.maximumPayload)
        let bind = unsafe request(queue, 1) {
            unsafe nfq_nlmsg_cfg_put_cmd($0, UInt16(AF_UNSPEC), UInt8(NFQNL_CFG_CMD_BIND.rawValue))
        }
        var options = unsafe request(queue, 2) { _ in }
        options.attribute(QueueProtocol.configFlags, big: flags)
        options.attribute(QueueProtocol.configMask, big: mask)
        let length = unsafe request(queue, 3) { unsafe nfq_nlmsg_cfg_put_qmaxlen($0, maximumLength) }
        let copy = unsafe request(queue, 4) {
            unsafe nfq_nlmsg_cfg_put_params($0, UInt8(NFQNL_COPY_PACKET.rawValue), range)
        }
        return [bind, options, length, copy]
    }

    private static func request(
        _ queue: UInt16, _ sequence: UInt32, _ body: (UnsafeMutablePointer<nlmsghdr>) -> Void
    ) -> NetlinkMessageBuilder {
        var builder = NetlinkMessageBuilder(capacity: 512)
        builder.begin(
            queueMessage: NFQNL_MSG_CONFIG.rawValue, queue: queue, flags: NetlinkSocket.acknowledge, sequence: sequence)
        unsafe builder.amend(body)
        return builder
    }

    /// Sends the requests one by one.
    /// - Returns: datagrams with packets that came between the answers.
    private static func configure(
        _ socket: borrowing NetlinkSocket, queue: UInt16, _ requests: [NetlinkMessageBuilder]
    ) throws(QueueError) -> [[UInt8]] {
        var early: [[UInt8]] = []
        for (index, request) in requests.enumerated() {
            let code: Int32
            do {
                try socket.send(request)
                code = try acknowledgement(socket, of: UInt32(index + 1), &early)
            } catch {
                throw .system(error)
            }
            switch code {
            case 0: continue
            // The kernel refuses a second binder with EPERM as well as one without the capability.
            case EPERM: throw index == 0 && geteuid() != 0 ? .notPermitted : .taken(queue: queue)
            case EBUSY: throw .taken(queue: queue)
            default: throw .system(SystemCallError("configure queue \(queue)", Errno(rawValue: code)))
            }
        }
        return early
    }

    private static func acknowledgement(
        _ socket: borrowing NetlinkSocket, of sequence: UInt32, _ early: inout [[UInt8]]
    ) throws(SystemCallError) -> Int32 {
        var buffer = [UInt8](repeating: 0, count: PacketBuffer.slot)
        while true {
            guard socket.wait(milliseconds: 2000) else { throw SystemCallError("configure queue", .timedOut) }
            guard let count = try socket.receive(into: &buffer) else { continue }
            let span = buffer.span.extracting(first: min(count, buffer.count))
            var cursor = 0
            var isPacket = false
            while let header = span.nextMessage(&cursor) {
                if header.sequence == sequence, let code = span.errorNumber(header) { return code }
                isPacket = isPacket || header.type == QueueProtocol.packetMessage
            }
            if isPacket { early.append(Array(buffer[0..<min(count, buffer.count)])) }
        }
    }
}
