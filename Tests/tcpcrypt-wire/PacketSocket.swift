import CPacketSocket
import PacketWire
import PathDevices

/// A call that failed: what was tried and the number of the error.
struct WireError: Error, CustomStringConvertible {
    let operation: String
    let number: Int32

    var description: String { "\(operation): error \(number)" }
}

/// One device of the wire: frames come in here, and what the path lets out towards it leaves.
final class PacketSocket: NetworkDevice {
    private static let batch = Int(PACKET_SOCKET_BATCH)
    private static let linkHeader = Int(PACKET_SOCKET_LINK_HEADER)
    /// Room for the longest frame; no multiple of a page, or every frame would begin in the same cache lines.
    private static let slot = 65_536 + 192

    let descriptor: Int32
    private var input = [UInt8](repeating: 0, count: batch * slot)
    private var output = [UInt8](repeating: 0, count: batch * slot)
    private var lengths = [UInt32](repeating: 0, count: batch)
    private var outputLengths: [UInt32] = []
    private(set) var sent: UInt64 = 0
    /// Frames the kernel would not send: too long for the device most of all.
    private(set) var unsent: UInt64 = 0
    private(set) var missed: UInt64 = 0

    init(_ device: String) throws(WireError) {
        descriptor = unsafe packet_socket_open(device)
        guard descriptor >= 0 else { throw WireError(operation: "device \(device)", number: -descriptor) }
        outputLengths.reserveCapacity(Self.batch)
    }

    /// Receives what waits, up to a batch, and hands over each packet; false when nothing waited.
    func receive(_ body: (WirePacket) -> Void) -> Bool {
        let count = unsafe input.withUnsafeMutableBufferPointer { memory in
            unsafe packet_socket_receive(descriptor, memory.baseAddress, UInt32(Self.slot), &lengths)
        }
        guard count > 0 else { return false }
        for index in 0..<min(Int(count), Self.batch) {
            let length = min(Int(lengths[index] & 0x7fff_ffff), Self.slot)
            guard length >= Self.linkHeader else { continue }
            let start = index * Self.slot
            var packet = WirePacket(Array(input[start + Self.linkHeader..<start + length]))
            packet.link = LinkHeader(reading: input.span.extracting(start..<start + Self.linkHeader))
            packet.hasPartialChecksum = lengths[index] >> 31 == 1
            body(packet)
        }
        return Int(count) == Self.batch
    }

    func transmit(_ packet: WirePacket, on network: EventQueue) {
        let length = Self.linkHeader + packet.bytes.count
        guard length <= Self.slot else {
            unsent &+= 1
            return
        }
        if outputLengths.count == Self.batch { flush() }
        let start = outputLengths.count * Self.slot
        var span = output.mutableSpan
        packet.link.write(into: &span, at: start)
        span.copy(packet.bytes.span, at: start + Self.linkHeader)
        outputLengths.append(UInt32(length))
    }

    /// Sends what was collected.
    func flush() {
        var first = 0
        while first < outputLengths.count {
            let count = outputLengths.count - first
            let done = unsafe output.withUnsafeMutableBufferPointer { memory in
                unsafe outputLengths.withUnsafeBufferPointer { lengths in
                    unsafe packet_socket_send(
                        descriptor, memory.baseAddress?.advanced(by: first * Self.slot), UInt32(Self.slot),
                        lengths.baseAddress?.advanced(by: first), Int32(count))
                }
            }
            if done > 0 {
                first += Int(done)
                sent &+= UInt64(done)
            } else {
                first += 1
                unsent &+= 1
            }
        }
        outputLengths.removeAll(keepingCapacity: true)
    }

    /// Looks how many frames the kernel could not keep for us.
    func countMissed() { missed &+= UInt64(max(0, packet_socket_missed(descriptor))) }
}

extension LinkHeader {
    init(reading bytes: Span<UInt8>) {
        self.init()
        destination = UInt64(bytes.loadUInt16(at: 0)) << 32 | UInt64(bytes.loadUInt32(at: 2))
        source = UInt64(bytes.loadUInt16(at: 6)) << 32 | UInt64(bytes.loadUInt32(at: 8))
        type = bytes.loadUInt16(at: 12)
    }

    func write(into bytes: inout MutableSpan<UInt8>, at start: Int) {
        bytes.store(UInt16(truncatingIfNeeded: destination >> 32), at: start)
        bytes.store(UInt32(truncatingIfNeeded: destination), at: start + 2)
        bytes.store(UInt16(truncatingIfNeeded: source >> 32), at: start + 6)
        bytes.store(UInt32(truncatingIfNeeded: source), at: start + 8)
        bytes.store(type, at: start + 12)
    }
}
