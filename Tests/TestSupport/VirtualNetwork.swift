public import FlowEngine
import PacketWire

/// Something a packet passes: devices wrap devices, the last one hands over to a host.
public protocol NetworkDevice: AnyObject {
    func transmit(_ packet: WirePacket, on network: VirtualNetwork)
    /// A moment asked for with ``VirtualNetwork/schedule(after:wake:)``.
    func wake(on network: VirtualNetwork)
}

extension NetworkDevice {
    public func wake(on network: VirtualNetwork) {}
}

/// A discrete event simulation with its own time. Everything in it happens in one thread and one order.
public final class VirtualNetwork {
    private struct Event {
        var time: Instant
        var serial: Int
        var device: any NetworkDevice
        var packet: WirePacket?
    }

    public private(set) var now = Instant(nanoseconds: 1_000_000_000)
    public var hosts: [SimulatedHost] = []
    public let trace: Trace
    private var heap: [Event] = []
    private var serial = 0

    public init(trace: Trace) { self.trace = trace }

    /// Hands the packet to the device after a while.
    public func schedule(after nanoseconds: Int64, _ packet: WirePacket, to device: any NetworkDevice) {
        push(nanoseconds, packet, device)
    }

    public func schedule(after nanoseconds: Int64, wake device: any NetworkDevice) { push(nanoseconds, nil, device) }

    private func push(_ nanoseconds: Int64, _ packet: WirePacket?, _ device: any NetworkDevice) {
        serial += 1
        let time = Instant(nanoseconds: now.nanoseconds + nanoseconds)
        heap.append(Event(time: time, serial: serial, device: device, packet: packet))
        var child = heap.count - 1
        while child > 0, isBefore(child, (child - 1) / 2) {
            heap.swapAt(child, (child - 1) / 2)
            child = (child - 1) / 2
        }
    }

    private func isBefore(_ a: Int, _ b: Int) -> Bool {
        (heap[a].time.nanoseconds, heap[a].serial) < (heap[b].time.nanoseconds, heap[b].serial)
    }

    private func pop() -> Event? {
        guard let first = heap.first else { return nil }
        heap.swapAt(0, heap.count - 1)
        heap.removeLast()
        var parent = 0
        while true {
            var least = parent
            for child in [2 * parent + 1, 2 * parent + 2] where child < heap.count && isBefore(child, least) {
                least = child
            }
            if least == parent { return first }
            heap.swapAt(parent, least)
            parent = least
        }
    }

    /// Runs until `isDone` or `limit`; returns whether it was done.
    public func run(until limit: Instant, isDone: () -> Bool) -> Bool {
        for host in hosts { host.settle() }
        var steps = 0
        while !isDone() {
            steps += 1
            let wake = hosts.compactMap(\.nextDeadline).min()
            guard let next = [heap.first?.time, wake].compactMap(\.self).min(), next <= limit else {
                now = max(now, limit)
                return isDone()
            }
            guard steps < 4_000_000 else { return false }
            now = max(now, next)
            if let time = heap.first?.time, time <= now, let event = pop() {
                if let packet = event.packet {
                    event.device.transmit(packet, on: self)
                } else {
                    event.device.wake(on: self)
                }
            }
            for host in hosts { host.handleDeadlines() }
        }
        return true
    }
}

/// A compact record of what passed, for a run that failed.
public final class Trace {
    public private(set) var lines: [String] = []
    private let isEnabled: Bool

    public init(isEnabled: Bool) { self.isEnabled = isEnabled }

    public func note(_ now: Instant, _ line: @autoclosure () -> String) {
        guard isEnabled, lines.count < 200_000 else { return }
        let micros = now.nanoseconds / 1000 - 1_000_000
        lines.append("\(micros / 1000).\(String(1000 + micros % 1000).dropFirst()) \(line())")
    }

    public static func describe(_ packet: WirePacket) -> String {
        guard let parsed = packet.parsed else { return "unparsable, \(packet.bytes.count) bytes" }
        let letters: [(flag: UInt8, letter: String)] = [
            (0x02, "S"), (0x01, "F"), (0x04, "R"), (0x08, "P"), (0x10, "."), (0x20, "U"),
        ]
        let flags = letters.filter { parsed.flags.rawValue & $0.flag != 0 }.map(\.letter).joined()
        let kinds = describeOptions(packet.bytes, parsed)
        return "\(parsed.source.port)>\(parsed.destination.port) \(flags) seq \(parsed.sequence.rawValue)"
            + "+\(parsed.payload.count) ack \(parsed.acknowledgment.rawValue) win \(parsed.window)\(kinds)"
            + (packet.segmentSize.map { " gso \($0)" } ?? "") + (packet.isForged ? " FORGED" : "")
    }
}
