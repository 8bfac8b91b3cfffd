/// What a listing (`iptables-save -t security`) shows of ours: of this version or another, of this configuration or another.
public struct RuleListing: Sendable, Equatable {
    /// Rules of other chains that jump to ours, as `-D` commands; each as often as it is there.
    public var jumpDeletions: [String] = []
    /// Our chains.
    public var chains: [String] = []

    public init() {}

    /// - Parameter text: the output of `iptables-save`.
    public init(parsing text: String) {
        for line in text.split(separator: "\n") {
            if let chain = RuleListing.declaredChain(line) {
                chains.append(chain)
            } else if RuleListing.isForeignJumpToUs(line) {
                jumpDeletions.append("-D" + line.dropFirst(2))
            }
        }
    }

    public var isEmpty: Bool { jumpDeletions.isEmpty && chains.isEmpty }

    /// Lines that remove everything but the chains to keep (which a restore file declares, and so empties).
    func removal(keeping kept: Set<String> = []) -> [String] {
        let obsolete = chains.filter { !kept.contains($0) }
        return jumpDeletions + obsolete.map { "-F \($0)" } + obsolete.map { "-X \($0)" }
    }

    /// Input for `iptables-restore --noflush` that removes everything.
    public var removalScript: String {
        let lines = ["*\(IptablesRules.table)"] + removal() + ["COMMIT", ""]
        return lines.joined(separator: "\n")
    }

    private static func declaredChain(_ line: Substring) -> String? {
        guard line.hasPrefix(":" + IptablesRules.chainPrefix) else { return nil }
        return line.dropFirst().split(separator: " ").first.map(String.init)
    }

    private static func isForeignJumpToUs(_ line: Substring) -> Bool {
        guard line.hasPrefix("-A "), !line.hasPrefix("-A " + IptablesRules.chainPrefix) else { return false }
        let words = line.split(separator: " ")
        return zip(words, words.dropFirst()).contains { option, target in
            (option == "-j" || option == "-g") && target.hasPrefix(IptablesRules.chainPrefix)
        }
    }
}
