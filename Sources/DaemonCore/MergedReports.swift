import ControlProtocol

extension CountersMessage {
    /// The counts of several workers by name, in the order of the first.
    static func sum(of parts: [CountersMessage]) -> CountersMessage {
        guard var sum = parts.first else { return CountersMessage([]) }
        for part in parts.dropFirst() {
            for index in sum.counters.indices {
                sum.counters[index].value &+= part[sum.counters[index].name]
            }
        }
        return sum
    }
}
