/// How often something happened; shared by the devices of one kind in one direction.
public final class Counter {
    public internal(set) var value: UInt64 = 0

    public init() {}

    func add(_ count: Int = 1) { value &+= UInt64(truncatingIfNeeded: count) }
}

/// One device of a chain: what it does not keep it hands to ``next``.
///
/// A device that has to see both directions has a ``partner`` in the other chain.
public class ChainDevice: NetworkDevice {
    public internal(set) var next: any NetworkDevice = Sink.shared
    var counter: Counter
    var partner: ChainDevice? { nil }

    init(counter: Counter) { self.counter = counter }

    public func transmit(_ packet: WirePacket, on network: EventQueue) { next.transmit(packet, on: network) }
    public func wake(on network: EventQueue) {}

    /// Takes other parameters at run time; what is on its way stays on its way.
    func update(_ specification: DeviceSpecification) {}
}

/// Where nothing comes back from.
final class Sink: NetworkDevice, Sendable {
    static let shared = Sink()

    func transmit(_ packet: WirePacket, on network: EventQueue) {}
}

/// The end that a middlebox's partner is, where all the work is done by the middlebox.
final class Relay: ChainDevice {
    private let body: (WirePacket, EventQueue, Relay) -> Void

    init(counter: Counter, _ body: @escaping (WirePacket, EventQueue, Relay) -> Void) {
        self.body = body
        super.init(counter: counter)
    }

    override func transmit(_ packet: WirePacket, on network: EventQueue) { body(packet, network, self) }
}
