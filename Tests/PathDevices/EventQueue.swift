/// Something a packet passes: devices wrap devices, the last one hands over to a host or to a real link.
public protocol NetworkDevice: AnyObject {
    func transmit(_ packet: WirePacket, on network: EventQueue)
    /// A moment asked for with ``EventQueue/schedule(after:wake:)``.
    func wake(on network: EventQueue)
}

extension NetworkDevice {
    public func wake(on network: EventQueue) {}
}

/// What lies ahead, in order. It has no clock: whoever owns it says what time it is.
open class EventQueue {
    /// What the heap orders; packet and device rest where `slot` says.
    private struct Key {
        var time: Int64
        var serial: Int
        var slot: Int

        func isBefore(_ other: Key) -> Bool { time != other.time ? time < other.time : serial < other.serial }
    }

    private struct Event {
        var device: (any NetworkDevice)?
        var packet: WirePacket?
    }

    /// Nanoseconds of whatever clock the owner has.
    public private(set) var time: Int64
    public let trace: Trace
    private var heap: [Key] = []
    private var events: [Event] = []
    private var free: [Int] = []
    private var serial = 0

    public init(time: Int64, trace: Trace = Trace(isEnabled: false)) {
        self.time = time
        self.trace = trace
    }

    /// Hands the packet to the device after a while.
    public func schedule(after nanoseconds: Int64, _ packet: WirePacket, to device: any NetworkDevice) {
        push(time &+ max(0, nanoseconds), Event(device: device, packet: packet))
    }

    public func schedule(after nanoseconds: Int64, wake device: any NetworkDevice) {
        push(time &+ max(0, nanoseconds), Event(device: device, packet: nil))
    }

    /// When the next event is due.
    public var nextTime: Int64? { heap.first?.time }

    /// How many events lie ahead.
    public var count: Int { heap.count }

    /// Moves on to `now`, never back, and nothing happens on the way: for an owner that runs the events one by one.
    public func skip(to now: Int64) { time = max(time, now) }

    /// Runs the first event if it is due by now.
    @discardableResult
    public func step() -> Bool {
        guard let first = heap.first, first.time <= time else { return false }
        run(pop(first))
        return true
    }

    /// Runs everything due until `now`, each event at its own time, and then it is `now`.
    public func advance(to now: Int64) {
        while let first = heap.first, first.time <= now {
            time = max(time, first.time)
            run(pop(first))
        }
        time = max(time, now)
    }

    private func run(_ event: Event) {
        guard let device = event.device else { return }
        if let packet = event.packet {
            device.transmit(packet, on: self)
        } else {
            device.wake(on: self)
        }
    }

    private func push(_ time: Int64, _ event: Event) {
        serial += 1
        let slot = free.popLast() ?? events.count
        if slot == events.count { events.append(event) } else { events[slot] = event }
        let key = Key(time: time, serial: serial, slot: slot)
        heap.append(key)
        var child = heap.count - 1
        while child > 0 {
            let parent = (child - 1) / 2
            guard key.isBefore(heap[parent]) else { break }
            heap[child] = heap[parent]
            child = parent
        }
        heap[child] = key
    }

    private func pop(_ first: Key) -> Event {
        let event = events[first.slot]
        events[first.slot] = Event(device: nil, packet: nil)
        free.append(first.slot)
        let last = heap.removeLast()
        guard !heap.isEmpty else { return event }
        var parent = 0
        while 2 * parent + 1 < heap.count {
            var child = 2 * parent + 1
            if child + 1 < heap.count, heap[child + 1].isBefore(heap[child]) { child += 1 }
            guard heap[child].isBefore(last) else { break }
            heap[parent] = heap[child]
            parent = child
        }
        heap[parent] = last
        return event
    }
}
