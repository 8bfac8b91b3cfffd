import PacketWire
import Testing

@testable import NetfilterQueue

/// What we read out of the kernel's messages, and that nothing else can be read out of them.
@Suite struct ReceivedMessageTests {
    static let packetMessage: [UInt8] = [
        0x4c, 0, 0, 0,  // nlmsg_len 76
        0x00, 0x03, 0x00, 0x00,  // NFQNL_MSG_PACKET
        0, 0, 0, 0, 0, 0, 0, 0,  // nlmsg_seq, nlmsg_pid
        2, 0, 0x7c, 0x6a,  // AF_INET, NFNETLINK_V0, queue 31850
        0x0b, 0x00, 0x01, 0x00,  // NFQA_PACKET_HDR, 7 bytes
        0, 0, 0x01, 0x00,  // packet id 256
        0x08, 0x00,  // ETH_P_IP
        0x03, 0,  // hook LOCAL_OUT, padding
        0x08, 0x00, 0x06, 0x00,  // NFQA_IFINDEX_OUTDEV
        0, 0, 0, 9,
        0x08, 0x00, 0x03, 0x00,  // NFQA_MARK
        0x00, 0x00, 0x00, 0x2a,
        0x08, 0x00, 0x0e, 0x00,  // NFQA_SKB_INFO
        0, 0, 0, 3,  // CSUMNOTREADY | GSO
        0x09, 0x00, 0x0a, 0x00,  // NFQA_PAYLOAD, 5 bytes
        0x45, 1, 2, 3, 4, 0, 0, 0,  // the packet, padding
        0x08, 0x00, 0x0d, 0x00,  // NFQA_CAP_LEN
        0, 1, 0, 0,  // 65,536
    ]

    @Test func readsAPacket() throws {
        let span = Self.packetMessage.span
        var cursor = 0
        let found = span.nextMessage(&cursor)
        let header = try #require(found)
        let read = span.queuedPacket(header)
        let packet = try #require(read)
        #expect(cursor == Self.packetMessage.count)
        #expect(packet.queue == 31_850)
        #expect(packet.number == 256)
        #expect(packet.hook == .localOut)
        #expect(packet.mark == 42)
        #expect(packet.inputInterface == 0)
        #expect(packet.outputInterface == 9)
        #expect(packet.isGSO)
        #expect(packet.isChecksumPending)
        #expect(packet.truncatedFrom == 65_536)
        #expect(Array(Self.packetMessage[packet.payload]) == [0x45, 1, 2, 3, 4])
    }

    @Test func readsAnAcknowledgement() throws {
        let refused: [UInt8] = [
            0x24, 0, 0, 0,  // nlmsg_len
            0x02, 0, 0, 0,  // NLMSG_ERROR
            7, 0, 0, 0, 0, 0, 0, 0,  // nlmsg_seq, nlmsg_pid
            0xff, 0xff, 0xff, 0xff,  // -EPERM
            0x1c, 0, 0, 0, 0x02, 0x03, 0x05, 0x00, 7, 0, 0, 0, 0, 0, 0, 0,  // the header of the request
        ]
        let span = refused.span
        var cursor = 0
        let found = span.nextMessage(&cursor)
        let header = try #require(found)
        #expect(header.sequence == 7)
        let code = span.errorNumber(header)
        #expect(code == 1)
    }

    @Test func readsASubflow() throws {
        var message: [UInt8] = [0, 0, 0, 0, 20, 0, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0]  // SOCK_DIAG_BY_FAMILY
        message += [2, 1, 0, 0]  // AF_INET, TCP_ESTABLISHED
        message += [0x00, 0x50, 0xc0, 0x01]  // ports 80 and 49153, big-endian
        message += [192, 0, 2, 1] + [UInt8](repeating: 0, count: 12)
        message += [192, 0, 2, 2] + [UInt8](repeating: 0, count: 12)
        message += [4, 0, 0, 0] + [1, 2, 3, 4, 5, 6, 7, 8]  // bound to device 4, cookie
        message += [UInt8](repeating: 0, count: 20)  // timer, queues, uid, inode
        let mptcp: [UInt8] = [
            0x08, 0x00, 0x01, 0x00, 0x44, 0x33, 0x22, 0x11,  // MPTCP_SUBFLOW_ATTR_TOKEN_REM, host order
            0x08, 0x00, 0x02, 0x00, 0x88, 0x77, 0x66, 0x55,  // MPTCP_SUBFLOW_ATTR_TOKEN_LOC
        ]
        message += [0x20, 0x00, 0x13, 0x80]  // INET_DIAG_ULP_INFO, nested
        message += [0x08, 0x00, 0x01, 0x00, 0x6d, 0x70, 0x74, 0x00]  // INET_ULP_INFO_NAME
        message += [0x14, 0x00, 0x03, 0x80] + mptcp  // INET_ULP_INFO_MPTCP, nested
        message[0] = UInt8(message.count)
        let span = message.span
        var cursor = 0
        let found = span.nextMessage(&cursor)
        let header = try #require(found)
        let read = span.tcpSocket(header)
        let socket = try #require(read)
        #expect(socket.local.description == "192.0.2.1:80")
        #expect(socket.remote.description == "192.0.2.2:49153")
        #expect(socket.interface == 4)
        #expect(socket.tokens == TCPSocket.Tokens(local: 0x5566_7788, remote: 0x1122_3344))
    }

    @Test func readsTheKernelsCounts() {
        let text = "31850  32548     3 2 65531    17     4   330056  1\nnonsense\n"
        let expected = QueueStatistics(queue: 31_850, waiting: 3, overflows: 17, socketOverflows: 4)
        #expect(QueueStatistics.parse(text) == [expected])
    }

    @Test func survivesEveryTruncation() {
        for length in 0...Self.packetMessage.count {
            read(Array(Self.packetMessage[0..<length]))
            var cut = Array(Self.packetMessage[0..<length])
            if !cut.isEmpty { cut[0] = UInt8(length) }
            read(cut)
        }
    }

    @Test func survivesEveryByteChanged() {
        for index in Self.packetMessage.indices {
            for value: UInt8 in [0, 1, 3, 4, 5, 0x7f, 0x80, 0xfe, 0xff] {
                var changed = Self.packetMessage
                changed[index] = value
                read(changed)
            }
        }
    }

    /// Everything found must lie within the bytes.
    private func read(_ bytes: [UInt8]) {
        let span = bytes.span
        var cursor = 0
        while let header = span.nextMessage(&cursor) {
            #expect(header.whole.upperBound <= bytes.count)
            if let packet = span.queuedPacket(header) { #expect(packet.payload.upperBound <= bytes.count) }
            _ = span.tcpSocket(header)
            _ = span.errorNumber(header)
        }
    }
}
