import Testing

@testable import NetfilterQueue

/// What libmnl and libnetfilter_queue make of our requests, field by field (little-endian hosts).
@Suite struct MessageGoldenTests {
    @Test func configuresTheSYNQueue() {
        let requests = QueueSocket.configuration(queue: 0x7c6b, overload: .accept, maximumLength: 32_768)
        #expect(requests.map(\.bytes) == [Self.bind, Self.options(flags: 5), Self.length, Self.copy])
    }

    @Test func theMainQueueNeverFailsOpen() {
        let requests = QueueSocket.configuration(queue: 0x7c6b, overload: .drop, maximumLength: 32_768)
        #expect(requests[1].bytes == Self.options(flags: 4))
    }

    @Test func collectsVerdicts() {
        var batch = VerdictBatch()
        batch.accept(0x0102_0304, queue: 0x7c6b, mark: 0x3000_0007)
        batch.drop(5, queue: 0x7c6b)
        #expect(batch.messages.bytes == Self.accept(length: 0x28) + Self.drop)
    }

    @Test func copiesShortReplacementsAndPadsThem() {
        var batch = VerdictBatch()
        let packet: [UInt8] = [0x45, 0, 0, 40, 1]
        batch.accept(0x0102_0304, queue: 0x7c6b, mark: 0x3000_0007, replacement: packet.span)
        let payload: [UInt8] = [
            0x09, 0x00, 0x0a, 0x00,  // nla_len 4 + 5, NFQA_PAYLOAD
            0x45, 0, 0, 40, 1, 0, 0, 0,  // the packet, padded
        ]
        #expect(batch.messages.bytes == Self.accept(length: 0x34) + payload)
    }

    @Test func announcesLongReplacements() {
        var batch = VerdictBatch()
        batch.accept(0x0102_0304, queue: 0x7c6b, mark: 0x3000_0007, replacementLength: 65_531)
        // 0x28 + 4 + 65,532 bytes in all; the attribute's length is the largest there is.
        var expected = Self.accept(length: 0x28) + [0xff, 0xff, 0x0a, 0x00]
        expected.replaceSubrange(0..<4, with: [0x28, 0x00, 0x01, 0x00])
        #expect(batch.messages.bytes == expected)
    }

    @Test func namesRouteMarkAndDeviceOfAnInjectedPacket() {
        let expected: [UInt8] = [
            20, 0, 0, 0, 0, 0, 0, 0,  // cmsg_len
            1, 0, 0, 0,  // SOL_SOCKET
            36, 0, 0, 0,  // SO_MARK
            0x78, 0x56, 0x34, 0x12, 0, 0, 0, 0,  // the mark, padding
            28, 0, 0, 0, 0, 0, 0, 0,  // cmsg_len
            0, 0, 0, 0,  // IPPROTO_IP
            8, 0, 0, 0,  // IP_PKTINFO
            3, 0, 0, 0,  // ipi_ifindex
            0, 0, 0, 0, 0, 0, 0, 0,  // ipi_spec_dst, ipi_addr
            0, 0, 0, 0,  // padding
        ]
        #expect(PacketInjector.control(isIPv6: false, mark: 0x1234_5678, interface: 3) == expected)
        #expect(PacketInjector.control(isIPv6: true, mark: 1, interface: 0).count == 24)
        #expect(PacketInjector.control(isIPv6: true, mark: 1, interface: 3).count == 64)
    }
}

extension MessageGoldenTests {
    /// nlmsghdr and nfgenmsg of a request to queue 0x7c6b that wants an acknowledgement.
    private static func head(length: UInt8, sequence: UInt8) -> [UInt8] {
        [
            length, 0, 0, 0,  // nlmsg_len
            0x02, 0x03,  // NFNL_SUBSYS_QUEUE, NFQNL_MSG_CONFIG
            0x05, 0x00,  // NLM_F_REQUEST | NLM_F_ACK
            sequence, 0, 0, 0,  // nlmsg_seq
            0, 0, 0, 0,  // nlmsg_pid: the kernel knows
            0, 0,  // AF_UNSPEC, NFNETLINK_V0
            0x7c, 0x6b,  // queue number, big-endian
        ]
    }

    static let bind =
        head(length: 28, sequence: 1) + [
            0x08, 0x00, 0x01, 0x00,  // NFQA_CFG_CMD
            0x01, 0x00, 0x00, 0x00,  // NFQNL_CFG_CMD_BIND, padding, AF_UNSPEC
        ]

    static func options(flags: UInt8) -> [UInt8] {
        head(length: 36, sequence: 2) + [
            0x08, 0x00, 0x05, 0x00,  // NFQA_CFG_FLAGS
            0, 0, 0, flags,  // 1 FAIL_OPEN, 4 GSO
            0x08, 0x00, 0x04, 0x00,  // NFQA_CFG_MASK
            0, 0, 0, 5,  // both are meant, set or not
        ]
    }

    static let length =
        head(length: 28, sequence: 3) + [
            0x08, 0x00, 0x03, 0x00,  // NFQA_CFG_QUEUE_MAXLEN
            0x00, 0x00, 0x80, 0x00,  // 32,768
        ]

    static let copy =
        head(length: 32, sequence: 4) + [
            0x09, 0x00, 0x02, 0x00,  // NFQA_CFG_PARAMS
            0x00, 0x00, 0xff, 0xfb,  // copy_range 65,531
            0x02, 0, 0, 0,  // NFQNL_COPY_PACKET, padding
        ]

    /// NF_ACCEPT for packet 0x01020304 with mark 0x30000007, in a message of that length.
    static func accept(length: UInt8) -> [UInt8] {
        [
            length, 0, 0, 0,  // nlmsg_len
            0x01, 0x03, 0x01, 0x00,  // NFQNL_MSG_VERDICT, NLM_F_REQUEST: no acknowledgement
            0, 0, 0, 0, 0, 0, 0, 0,  // nlmsg_seq, nlmsg_pid
            0, 0, 0x7c, 0x6b,  // AF_UNSPEC, NFNETLINK_V0, queue
            0x0c, 0x00, 0x02, 0x00,  // NFQA_VERDICT_HDR
            0, 0, 0, 1,  // NF_ACCEPT
            0x01, 0x02, 0x03, 0x04,  // packet id, big-endian
            0x08, 0x00, 0x03, 0x00,  // NFQA_MARK
            0x30, 0x00, 0x00, 0x07,  // big-endian
        ]
    }

    static let drop: [UInt8] = [
        0x20, 0, 0, 0,  // nlmsg_len
        0x01, 0x03, 0x01, 0x00,  // NFQNL_MSG_VERDICT, NLM_F_REQUEST
        0, 0, 0, 0, 0, 0, 0, 0,  // nlmsg_seq, nlmsg_pid
        0, 0, 0x7c, 0x6b,  // AF_UNSPEC, NFNETLINK_V0, queue
        0x0c, 0x00, 0x02, 0x00,  // NFQA_VERDICT_HDR
        0, 0, 0, 0,  // NF_DROP
        0, 0, 0, 5,  // packet id
    ]
}
