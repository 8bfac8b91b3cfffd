/// `kernel.random.boot_id`: another one where this process was moved to another machine as it was.
enum BootID {
    static var current: [UInt8]? { KernelText.read("/proc/sys/kernel/random/boot_id") }
}
