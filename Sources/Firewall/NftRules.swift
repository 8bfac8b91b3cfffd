/// Renders the two nft tables: the guard, and what remembers verdicts in the connection. Pure: no I/O.
///
/// Only the hooks input and output are used: forwarded packets never meet a rule of ours.
public struct NftRules: Sendable {
    static let guardTable = "tcpcrypt_guard"
    static let marksTable = "tcpcrypt_marks"

    let configuration: FirewallConfiguration

    public init(_ configuration: FirewallConfiguration) { self.configuration = configuration }

    /// Drops packets of encrypted connections that bear no verdict, whatever happened to the iptables rules, and packets that were to get
    /// a verdict in the main queue and came out without, whatever conntrack knows of them.
    ///
    /// Exempt is a SYN or SYN-ACK of the local kernel (marked plain alone): it starts a new connection in an old entry.
    public var guardScript: String {
        let encrypted = hexadecimal(configuration.encryptedBit)
        let bits = hexadecimal(configuration.allBits)
        let exempt = hexadecimal(configuration.passedBit | configuration.plainBit)
        return """
            table inet \(NftRules.guardTable)
            delete table inet \(NftRules.guardTable)
            table inet \(NftRules.guardTable) {
                chain output {
                    type filter hook output priority 200; policy accept;
                    oifname != "lo" meta l4proto tcp ct mark & \(encrypted) == \(encrypted) meta mark & \(exempt) == 0x0 counter drop
                    oifname != "lo" meta l4proto tcp meta mark & \(bits) == \(encrypted) counter drop
                }
            }

            """
    }

    /// Copies our bits of the packet to the connection, then clears them from the packet. After the table security (at 50,
    /// but iptables-nft puts it at 150) and, outbound, after the guard.
    public var marksScript: String {
        let bits = hexadecimal(configuration.allBits)
        let rules = savingRules.map { "        " + $0 }.joined(separator: "\n")
        return """
            table inet \(NftRules.marksTable)
            delete table inet \(NftRules.marksTable)
            table inet \(NftRules.marksTable) {
                chain save {
            \(rules)
                }
                chain input {
                    type filter hook input priority 210; policy accept;
                    iifname != "lo" meta l4proto tcp meta mark & \(bits) != 0x0 jump save
                }
                chain output {
                    type filter hook output priority 210; policy accept;
                    oifname != "lo" meta l4proto tcp meta mark & \(bits) != 0x0 jump save
                }
            }

            """
    }

    private var savingRules: [String] {
        let passed = configuration.passedBit
        let plain = configuration.plainBit
        let encrypted = configuration.encryptedBit
        return [
            "\(packetIs(passed | plain)) \(connectionBecomes(passed | plain))",
            "\(packetIs(passed | encrypted)) \(connectionBecomes(passed | encrypted))",
            // A SYN may start a new connection in an old entry; later an undecided packet, which may have waited in the queue while
            // another was decided, takes nothing back.
            "\(packetIs(passed)) tcp flags & syn == syn \(connectionBecomes(passed))",
            "\(packetIs(passed)) ct mark set ct mark | \(hexadecimal(passed))",
            "\(packetIs(plain)) \(connectionBecomes(plain))",
            "meta mark set meta mark & \(hexadecimal(~configuration.allBits))",
        ]
    }

    private func packetIs(_ bits: UInt32) -> String {
        "meta mark & \(hexadecimal(configuration.allBits)) == \(hexadecimal(bits))"
    }

    private func connectionBecomes(_ bits: UInt32) -> String {
        "ct mark set ct mark & \(hexadecimal(~configuration.allBits)) | \(hexadecimal(bits))"
    }

    /// Removes a table, or does nothing where it is not there.
    static func removalScript(_ table: String) -> String {
        "table inet \(table)\ndelete table inet \(table)\n"
    }
}
