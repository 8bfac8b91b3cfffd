import CPacketSocket
import Glibc
import PathDevices

/// The wire between two devices: real frames and the real clock drive the same devices as the simulation's.
final class Wire {
    private let left: PacketSocket
    private let right: PacketSocket
    private let path: DevicePath
    private let queue: EventQueue
    private var pendingInput: [UInt8] = []
    private var isEnded = false

    init(left: String, right: String, seed: UInt64) throws(WireError) {
        self.left = try PacketSocket(left)
        self.right = try PacketSocket(right)
        path = DevicePath(seed: seed, right: self.right, left: self.left)
        queue = EventQueue(time: Self.now())
    }

    func set(_ direction: PathDirection, to specification: PathSpecification) {
        path.set(direction, to: specification)
    }

    private static func now() -> Int64 {
        var time = timespec()
        unsafe clock_gettime(CLOCK_MONOTONIC, &time)
        return Int64(time.tv_sec) * 1_000_000_000 + Int64(time.tv_nsec)
    }

    /// Runs until a signal or the end of the commands.
    func run() {
        packet_socket_hold_signals()
        packet_socket_hurry()
        say("ready")
        while !isEnded {
            queue.advance(to: Self.now())
            left.flush()
            right.flush()
            let ready = unsafe packet_socket_wait([left.descriptor, right.descriptor, 0], 3, timeout())
            guard ready >= 0 else { break }
            if ready & 1 != 0 { take(from: left, .toRight) }
            if ready & 2 != 0 { take(from: right, .toLeft) }
            if ready & 4 != 0 { readCommands() }
        }
        left.flush()
        right.flush()
        say(counters())
    }

    /// Nanoseconds until something is due. Where much is on its way a few packets leave together, at most so much late:
    /// a system call for each would cost more than the packet.
    private func timeout() -> Int64 {
        guard let next = queue.nextTime else { return -1 }
        let least: Int64 = queue.count > 16 ? 40_000 : 0
        let left = next - Self.now()
        return left <= 0 ? 0 : max(least, left)
    }

    /// A few batches, so that the other direction and what is due get their turn.
    private func take(from socket: PacketSocket, _ direction: PathDirection) {
        let entry = path.entry(direction)
        let exit = direction == .toRight ? right : left
        for _ in 0..<4 {
            queue.advance(to: Self.now())
            let isMore = socket.receive { packet in
                // Address resolution has no part in this: a lost neighbour is not a lossy path.
                if packet.isLinkControl {
                    exit.transmit(packet, on: queue)
                } else {
                    entry.transmit(PacketBuilder.finished(packet), on: queue)
                }
            }
            if !isMore { return }
        }
    }

    // MARK: Commands

    private func readCommands() {
        var buffer = [UInt8](repeating: 0, count: 4096)
        let count = unsafe read(0, &buffer, buffer.count)
        guard count > 0 else {
            isEnded = count == 0 || errno != EINTR
            return
        }
        pendingInput += buffer[0..<count]
        while let end = pendingInput.firstIndex(of: 0x0a) {
            obey(String(decoding: pendingInput[0..<end], as: UTF8.self))
            pendingInput.removeSubrange(0...end)
        }
        if pendingInput.count > 1 << 16 { pendingInput = [] }
    }

    private func obey(_ line: String) {
        let words = line.split(maxSplits: 1, whereSeparator: \.isWhitespace)
        guard let command = words.first else { return }
        do {
            let rest = words.count == 2 ? String(words[1]) : ""
            switch command {
            case "to-right": path.set(.toRight, to: try PathSpecification(parsing: rest))
            case "to-left": path.set(.toLeft, to: try PathSpecification(parsing: rest))
            case "both":
                let specification = try PathSpecification(parsing: rest)
                for direction in PathDirection.allCases { path.set(direction, to: specification) }
            case "counters": return say(counters())
            default: return say("error: '\(command.prefix(60))' is no command")
            }
            say("set")
        } catch {
            say("error: \(error)")
        }
    }

    /// One line of JSON.
    private func counters() -> String {
        left.countMissed()
        right.countMissed()
        let sides = [(PathDirection.toRight, "to_right", left, right), (.toLeft, "to_left", right, left)]
        let texts = sides.map { direction, name, input, output in
            let own = [("delivered", output.sent), ("unsent", output.unsent), ("missed", input.missed)]
            let all = path.counters(direction).map { ($0.name, $0.value) } + own
            return "\"\(name)\":{\(all.map { "\"\($0)\":\($1)" }.joined(separator: ","))}"
        }
        return "{\(texts.joined(separator: ","))}"
    }

    private func say(_ line: String) {
        let bytes = Array((line + "\n").utf8)
        var written = 0
        while written < bytes.count {
            let count = unsafe bytes.withUnsafeBytes { memory in
                unsafe write(1, memory.baseAddress?.advanced(by: written), memory.count - written)
            }
            guard count > 0 else { return }
            written += count
        }
    }
}

extension WirePacket {
    /// Whether this is no IP packet of the hosts' traffic but ARP, IPv6 neighbour discovery (RFC 4861) or a multicast
    /// report.
    fileprivate var isLinkControl: Bool {
        guard link.destination >> 40 & 1 == 0 else { return true }
        switch link.type {
        case 0x0800: return bytes.count < 20
        case 0x86dd:
            guard bytes.count >= 41 else { return true }
            return bytes[6] == 58 && (133...137).contains(bytes[40])
        default: return true
        }
    }
}
