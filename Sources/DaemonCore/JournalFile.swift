import Glibc
import NetfilterQueue
import Synchronization
import SystemPackage

/// A file of equal slots mapped into memory: what was stored survives the process, however it ends.
@safe struct JournalFile: ~Copyable {
    let slots: Int
    private let memory: UnsafeMutableRawPointer

    /// Opens or creates the file with room for at least `minimumSlots`; what it held stays.
    ///
    /// All of it is reserved at once: a store into a mapped page that the full file system cannot provide would
    /// kill the process.
    init(path: String, minimumSlots: Int) throws(SystemCallError) {
        let flags = O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW
        let file = try Descriptor(owning: unsafe open(path, flags, 0o600), "open \(path)")
        var status = stat()
        guard unsafe fstat(file.rawValue, &status) == 0 else { throw SystemCallError("stat \(path)", .ioError) }
        // A file of absurd size is not one of ours: the rest is ignored.
        let present = min(Int(status.st_size) / JournalSlot.size, 1 << 24)
        let slots = max(minimumSlots, present, 1)
        let length = slots * JournalSlot.size
        guard ftruncate(file.rawValue, off_t(length)) == 0 else {
            throw SystemCallError("truncate \(path)", Errno(rawValue: errno))
        }
        let code = posix_fallocate(file.rawValue, 0, off_t(length))
        guard code == 0 else { throw SystemCallError("reserve \(length) bytes for \(path)", Errno(rawValue: code)) }
        let mapped = unsafe mmap(nil, length, PROT_READ | PROT_WRITE, MAP_SHARED, file.rawValue, 0)
        guard let mapped = unsafe mapped, unsafe mapped != MAP_FAILED else {
            throw SystemCallError("map \(path)", Errno(rawValue: errno))
        }
        self.slots = slots
        unsafe memory = unsafe mapped
    }

    deinit { unsafe munmap(memory, slots * JournalSlot.size) }

    func read(_ slot: Int) -> [UInt8] {
        guard isValid(slot) else { return [] }
        let start = unsafe memory + slot * JournalSlot.size
        return unsafe [UInt8](UnsafeRawBufferPointer(start: start, count: JournalSlot.size))
    }

    /// Whether the slot's first byte is zero.
    func isFree(_ slot: Int) -> Bool {
        guard isValid(slot) else { return false }
        return unsafe memory.load(fromByteOffset: slot * JournalSlot.size, as: UInt8.self) == 0
    }

    /// Stores a slot so that a death at any moment leaves it either free or whole: the first byte goes first and last.
    func write(_ slot: Int, _ bytes: [UInt8]) {
        guard isValid(slot), bytes.count == JournalSlot.size else { return }
        store(0, slot, 0)
        atomicMemoryFence(ordering: .sequentiallyConsistent)
        store(bytes, slot, 1..<bytes.count)
        atomicMemoryFence(ordering: .sequentiallyConsistent)
        store(bytes[0], slot, 0)
    }

    /// Stores the keys of a slot in use, which stays in use throughout.
    func writeKeys(_ slot: Int, _ bytes: [UInt8]) {
        guard isValid(slot), bytes.count == JournalSlot.size else { return }
        store(0, slot, JournalSlot.keysFlag)
        atomicMemoryFence(ordering: .sequentiallyConsistent)
        store(bytes, slot, JournalSlot.keys)
        store(bytes, slot, JournalSlot.keysChecksum)
        atomicMemoryFence(ordering: .sequentiallyConsistent)
        store(bytes[JournalSlot.keysFlag], slot, JournalSlot.keysFlag)
    }

    func free(_ slot: Int) {
        if isValid(slot) { store(0, slot, 0) }
    }

    private func isValid(_ slot: Int) -> Bool { slot >= 0 && slot < slots }

    private func store(_ byte: UInt8, _ slot: Int, _ offset: Int) {
        unsafe memory.storeBytes(of: byte, toByteOffset: slot * JournalSlot.size + offset, as: UInt8.self)
    }

    private func store(_ bytes: [UInt8], _ slot: Int, _ range: Range<Int>) {
        let target = unsafe UnsafeMutableRawBufferPointer(
            start: memory + slot * JournalSlot.size + range.lowerBound, count: range.count)
        unsafe target.copyBytes(from: bytes[range])
    }
}
