import CNetfilterQueue
import Glibc

/// Keeps what the process holds in memory, secrets among it, from getting anywhere else.
public enum ProcessMemory {
    /// Keeps all pages, those of later too, from the swap, and forbids core dumps and debuggers of others than root. Pages count when they
    /// are used.
    ///
    /// - Returns: what failed; the rest was done.
    public static func protect() -> [SystemCallError] {
        var failures: [SystemCallError] = []
        if forbid_dumps() != 0 { failures.append(SystemCallError("forbid core dumps")) }
        if mlockall(MCL_CURRENT | MCL_FUTURE | MCL_ONFAULT) != 0 {
            failures.append(SystemCallError("lock memory"))
        }
        return failures
    }
}
