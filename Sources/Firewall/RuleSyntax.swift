/// The pieces that the rules are put together from.
extension IptablesRules {
    func rules(_ chain: String, _ bodies: [String]) -> [String] { bodies.map { "-A \(chain) \($0)" } }

    var syn: String { "-p tcp -m tcp --tcp-flags SYN,RST,ACK SYN" }
    var synAck: String { "-p tcp -m tcp --tcp-flags SYN,RST,ACK SYN,ACK" }
    var reset: String { "-p tcp -m tcp --tcp-flags RST RST" }
    /// To be said after one of the flag matches, which load the tcp match.
    var notMPTCP: String { "! --tcp-option \(JoinFilter.mptcpKind)" }

    func mayBeJoin(_ segment: JoinSegment) -> String {
        let program = JoinFilter.program(family, segment)
        return "--tcp-option \(JoinFilter.mptcpKind) -m bpf --bytecode \"\(JoinFilter.bytecode(program))\""
    }

    var icmp: String { family == .ipv4 ? "icmp" : "ipv6-icmp" }
    var quotesTCP: String { "-m bpf --bytecode \"\(JoinFilter.bytecode(ErrorFilter.program(family)))\"" }

    var isPlain: String { "-m connmark --mark \(masked(configuration.plainBit, configuration.plainBit))" }

    var isEncrypted: String { "-m connmark --mark \(masked(configuration.encryptedBit, configuration.encryptedBit))" }

    /// The bits may be in use by others before us; what they mean by them ends here.
    var clearBits: String {
        "-m mark ! --mark \(masked(0, configuration.allBits)) -j MARK --set-xmark \(masked(0, configuration.allBits))"
    }

    func mark(_ bits: UInt32) -> String { "-j MARK --set-xmark \(masked(bits, configuration.allBits))" }

    /// Never with bypass: where no daemon listens the packet is dropped.
    var toMain: String { target(.main) }
    var toStrangers: String { target(.strangers) }
    var toSYN: String { target(.syn) }
    /// Of errors; they pass where no daemon listens.
    var errorToMain: String { target(.errorMain) }
    var errorToStrangers: String { target(.errorStrangers) }

    func masked(_ value: UInt32, _ mask: UInt32) -> String { "\(hexadecimal(value))/\(hexadecimal(mask))" }

    /// multiport takes 15 ports at most.
    func portLists(_ option: String) -> [String] {
        portLists(option, Array(Set(configuration.excludedPorts)).sorted().map { $0...$0 })
    }

    /// The same for ranges, of which each counts as two ports.
    func portLists(_ option: String, _ ranges: [ClosedRange<UInt16>]) -> [String] {
        var lists: [[String]] = []
        var room = 0
        for range in ranges {
            let size = range.count == 1 ? 1 : 2
            if room < size {
                lists.append([])
                room = 15
            }
            room -= size
            let text = size == 1 ? "\(range.lowerBound)" : "\(range.lowerBound):\(range.upperBound)"
            lists[lists.count - 1].append(text)
        }
        return lists.map { "-m multiport \(option) \($0.joined(separator: ","))" }
    }

    var interfaces: [String] { configuration.skippedInterfaces.filter { $0 != "lo" } }
}

func hexadecimal(_ value: UInt32) -> String { "0x" + String(value, radix: 16) }
