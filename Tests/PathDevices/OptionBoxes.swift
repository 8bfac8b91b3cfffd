import PacketWire

/// Which segments a box that removes options looks at.
public enum SegmentChoice: Sendable, Hashable {
    case syn, synAck
    /// The third ACK of a handshake, and what repeats it.
    case thirdAck
    /// What comes behind the handshake.
    case data
    case all
}

extension TCPFlags {
    fileprivate var choice: SegmentChoice? {
        guard contains(.syn) else { return nil }
        return contains(.ack) ? .synAck : .syn
    }
}

/// A box that edits options and lets everything else pass.
class OptionBox: ChainDevice {
    override func transmit(_ packet: WirePacket, on network: EventQueue) {
        guard let parsed = packet.intact,
            let changed = packet.editingOptions(parsed, { kind, option in edit(kind, &option, parsed) })
        else { return next.transmit(packet, on: network) }
        counter.add()
        network.trace.note(network.time, "options changed: \(Trace.describe(packet))")
        next.transmit(changed, on: network)
    }

    func edit(_ kind: UInt8, _ option: inout ArraySlice<UInt8>, _ parsed: TCPPacket) -> Bool { false }
}

/// Blanks TCP-ENO in one kind of segment.
final class ENOStripper: OptionBox {
    private var choice: SegmentChoice

    init(_ choice: SegmentChoice, counter: Counter) {
        self.choice = choice
        super.init(counter: counter)
    }

    override func edit(_ kind: UInt8, _ option: inout ArraySlice<UInt8>, _ parsed: TCPPacket) -> Bool {
        guard kind == TCPOptionKind.encryptionNegotiation, (parsed.flags.choice ?? .thirdAck) == choice else {
            return false
        }
        option.blank()
        return true
    }

    override func update(_ specification: DeviceSpecification) {
        if case .stripENO(let choice) = specification { self.choice = choice }
    }
}

/// Blanks MPTCP's options, in all segments or in some.
final class MPTCPStripper: OptionBox {
    private var choice: SegmentChoice

    init(_ choice: SegmentChoice, counter: Counter) {
        self.choice = choice
        super.init(counter: counter)
    }

    override func edit(_ kind: UInt8, _ option: inout ArraySlice<UInt8>, _ parsed: TCPPacket) -> Bool {
        guard kind == TCPOptionKind.mptcp, option.count >= 3 else { return false }
        // MP_CAPABLE and MP_JOIN: without SYN they are of a third ACK.
        let isHandshake = option[option.startIndex + 2] >> 4 <= 1
        let found = parsed.flags.choice ?? (isHandshake ? .thirdAck : .data)
        guard choice == .all || choice == found else { return false }
        option.blank()
        return true
    }

    override func update(_ specification: DeviceSpecification) {
        if case .stripMPTCP(let choice) = specification { self.choice = choice }
    }
}

/// Blanks the options that a cautious firewall does not know, or every one.
final class OptionClearer: OptionBox {
    private var clearsAll: Bool
    private static let known = [
        TCPOptionKind.maximumSegmentSize, TCPOptionKind.windowScale, TCPOptionKind.sackPermitted, TCPOptionKind.sack,
        TCPOptionKind.timestamps,
    ]

    init(clearsAll: Bool, counter: Counter) {
        self.clearsAll = clearsAll
        super.init(counter: counter)
    }

    override func edit(_ kind: UInt8, _ option: inout ArraySlice<UInt8>, _ parsed: TCPPacket) -> Bool {
        guard clearsAll || !Self.known.contains(kind) else { return false }
        option.blank()
        return true
    }

    override func update(_ specification: DeviceSpecification) {
        if case .clearOptions(let clearsAll) = specification { self.clearsAll = clearsAll }
    }
}

/// Lowers the MSS that a SYN announces, as routers in front of a tunnel do.
final class MSSClamp: OptionBox {
    private var size: Int

    init(_ size: Int, counter: Counter) {
        self.size = size
        super.init(counter: counter)
    }

    override func edit(_ kind: UInt8, _ option: inout ArraySlice<UInt8>, _ parsed: TCPPacket) -> Bool {
        guard kind == TCPOptionKind.maximumSegmentSize, option.count == 4, parsed.flags.contains(.syn) else {
            return false
        }
        let start = option.startIndex
        guard Int(option[start + 2]) << 8 | Int(option[start + 3]) > size else { return false }
        option[start + 2] = UInt8(truncatingIfNeeded: size >> 8)
        option[start + 3] = UInt8(truncatingIfNeeded: size)
        return true
    }

    override func update(_ specification: DeviceSpecification) {
        if case .clampMSS(let size) = specification { self.size = size }
    }
}
