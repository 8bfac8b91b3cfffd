import Glibc
import SystemPackage

/// The network namespace of the calling thread.
public enum NetworkNamespace {
    /// The inode number that `ip netns identify` and `lsns` know it by; unique while the namespace lives.
    public static func current() throws(SystemCallError) -> UInt64 {
        var status = stat()
        guard unsafe stat("/proc/thread-self/ns/net", &status) == 0 else {
            throw SystemCallError("read /proc/thread-self/ns/net")
        }
        return UInt64(status.st_ino)
    }
}
