import CCrypto

/// Owns one libcrypto object that is immutable after its making, and frees it with its last user.
///
/// Algorithm objects are fetched once: fetching is slow and takes locks. libcrypto lets threads share them.
@safe
final class Handle: @unchecked Sendable {
    let pointer: OpaquePointer
    private let free: @Sendable (OpaquePointer) -> Void

    init?(_ pointer: OpaquePointer?, free: @escaping @Sendable (OpaquePointer) -> Void) {
        guard let pointer = unsafe pointer else { return nil }
        unsafe self.pointer = pointer
        unsafe self.free = free
    }

    deinit { unsafe free(pointer) }
}
