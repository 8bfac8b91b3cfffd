import OpenSSLProvider
import PacketWire
import Tables
import Tcpcrypt
import Testing

@testable import FlowEngine

/// Somebody who is no party to the connection under test.
let stranger = Endpoint(address: IPAddress(ipv4: 0x0a00_0009), port: 9)
let mss: [UInt8] = [2, 4, 5, 180, 4, 2]
/// The kernel drops a segment with an unexpected MD5 signature (RFC 2385); the engine does not.
let md5: [UInt8] = [19, 18] + [UInt8](repeating: 0, count: 16)

func joinSYN(_ token: [UInt8]) -> [UInt8] { [30, 12, 0x10, 1] + token + [0, 0, 0, 77] }
let joinSYNACK: [UInt8] = [30, 16, 0x10, 1] + [UInt8](repeating: 5, count: 8) + [0, 0, 0, 88]
let joinACK: [UInt8] = [30, 24, 0x10, 1] + [UInt8](repeating: 6, count: 20)

extension TestHost {
    func arrive(
        _ source: Endpoint, _ destination: Endpoint, _ seq: UInt32, _ ack: UInt32, _ flags: TCPFlags,
        _ options: [UInt8] = [], _ payload: [UInt8] = []
    ) {
        feed(
            TestSegment(
                source: source, destination: destination, sequence: seq, acknowledgment: ack, flags: flags,
                options: options, payload: payload
            ).bytes, .inbound)
    }

    func leave(
        _ source: Endpoint, _ destination: Endpoint, _ seq: UInt32, _ ack: UInt32, _ flags: TCPFlags,
        _ options: [UInt8] = [], _ payload: [UInt8] = []
    ) {
        feed(
            TestSegment(
                source: source, destination: destination, sequence: seq, acknowledgment: ack, flags: flags,
                options: options, payload: payload
            ).bytes, .outbound)
    }

    func takeSeen() -> [Seen] { takeWire().compactMap { Seen($0) } }
}

func isJoin(_ seen: Seen) -> Bool { seen.options.mayBeJoin }

/// A client without an engine that speaks tcpcrypt by hand.
final class HandMade {
    let host: TestHost
    let here: Endpoint
    let there = Endpoint(address: IPAddress(ipv4: 0x0a00_0002), port: 80)
    var sealer: FrameSealer?
    private var secret: ConnectionSecret?
    var offset = 0
    var seq: UInt32 { 1001 &+ UInt32(truncatingIfNeeded: offset) }

    init(_ host: TestHost, port: UInt16 = 7) {
        self.host = host
        here = Endpoint(address: IPAddress(ipv4: 0x0a00_0007), port: port)
    }

    /// - Returns: both ENO options.
    func openTCP(_ options: [UInt8] = mss, _ kernelOptions: [UInt8] = mss) -> [UInt8] {
        let offer: [UInt8] = [69, 3, 0x23]
        host.arrive(here, there, 1000, 0, .syn, options + offer)
        _ = host.takeKernel()
        host.leave(there, here, 5000, 1001, [.syn, .ack], kernelOptions)
        guard let answer = host.takeSeen().last, let range = answer.options.range(of: 69) else { return [] }
        return offer + range.map { answer.options.span[$0] }
    }

    func open(_ options: [UInt8] = mss, ack: [UInt8] = [69, 2]) {
        let transcript = openTCP(options)
        let exchange = KeyExchangeA(
            tep: .curve25519, aeads: [.aes128GCM], transcript: transcript, crypto: OpenSSLProvider(),
            random: CountingRandom(99))
        host.arrive(here, there, 1001, 5001, [.ack, .psh], ack, exchange.init1)
        offset = exchange.init1.count
        guard let init2 = host.takeSeen().last(where: { !$0.payload.isEmpty })?.payload,
            let secret = try? exchange.finish(init2: init2.span)
        else { return }
        self.secret = secret
        reopen()
        _ = host.takeKernel()
    }

    /// Makes a sealer that knows nothing of what the other one has sealed.
    func reopen() { sealer = secret?.streams(OpenSSLProvider()).sealer }

    func frame(_ data: [UInt8] = [], rekey: Bool = false, fin: Bool = false) -> [UInt8] {
        var bytes = [UInt8](repeating: 0, count: Frame.length(data: data.count, urgent: false))
        var target = bytes.mutableSpan
        _ = sealer?.seal(
            data: data.span, urgent: nil, fin: fin, rekey: rekey, offset: UInt64(offset), into: &target)
        offset += bytes.count
        return bytes
    }
}

extension HandMade {
    /// Opens the connection as far as the third ACK and stops there.
    func openSilently() {
        _ = openTCP()
        host.arrive(here, there, 1001, 5001, .ack, [69, 2])
        _ = host.takeWire()
        _ = host.takeKernel()
    }

    func send(_ payload: [UInt8], at sequence: UInt32, _ flags: TCPFlags = .ack) {
        host.arrive(here, there, sequence, 5001, flags, [69, 2], payload)
    }

    func flow() throws -> Flow {
        try #require(host.engine.flows[FlowTuple(local: there, remote: here)])
    }

    func isAborted(for reason: AbortReason) -> Bool {
        host.actions.contains(.log(.aborted(FlowTuple(local: there, remote: here), reason)))
    }
}
