public import PacketWire

/// A router whose next link takes less than the device did, from some time on.
public final class NarrowLink: NetworkDevice {
    public struct Narrowing: Sendable {
        public var mtu: Int
        public var atMilliseconds: Int64
        /// Whether its errors get lost: the host has to find out by itself.
        public var isSilent: Bool

        public init(mtu: Int, atMilliseconds: Int64, isSilent: Bool = false) {
            self.mtu = mtu
            self.atMilliseconds = atMilliseconds
            self.isSilent = isSilent
        }
    }

    private let narrowing: Narrowing
    private let router: IPAddress
    private let sender: HostPort
    private let delay: Int64
    private let next: any NetworkDevice
    private var start: Int64?
    /// Packets that were too long, and went no further.
    public private(set) var refused = 0

    /// - Parameter delay: nanoseconds until an error has reached the sender.
    public init(
        _ narrowing: Narrowing, router: IPAddress, sender: HostPort, delay: Int64, next: any NetworkDevice
    ) {
        self.narrowing = narrowing
        self.router = router
        self.sender = sender
        self.delay = delay
        self.next = next
    }

    public func transmit(_ packet: WirePacket, on network: EventQueue) {
        let start = start ?? network.time
        self.start = start
        guard packet.bytes.count > narrowing.mtu, network.time >= start + narrowing.atMilliseconds * 1_000_000 else {
            return next.transmit(packet, on: network)
        }
        refused += 1
        network.trace.note(network.time, "  too long for \(narrowing.mtu): \(Trace.describe(packet))")
        guard !narrowing.isSilent else { return }
        let error = ICMPBuilder.tooBig(packet.bytes, mtu: narrowing.mtu, from: router)
        network.schedule(after: delay, WirePacket(error), to: sender)
    }
}
