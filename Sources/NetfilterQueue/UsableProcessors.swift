import CNetfilterQueue
import Glibc

/// The processors that the system lets this process use.
public enum UsableProcessors {
    /// At least 1.
    public static var count: Int {
        var set = cpu_set_t()
        guard unsafe sched_getaffinity(0, MemoryLayout<cpu_set_t>.size, &set) == 0 else { return 1 }
        let bits = unsafe withUnsafeBytes(of: set) { unsafe $0.reduce(0) { $0 + $1.nonzeroBitCount } }
        return max(1, bits)
    }
}
