import CCrypto

/// SHA-256 over pieces: one libcrypto context for as many digests as wanted, one after the other.
@safe
struct DigestRun: ~Copyable {
    static let length = 32
    static let blockLength = 64

    private let context: OpaquePointer?
    private let algorithm: Handle
    /// Whether libcrypto did all it was asked to.
    private(set) var isSound: Bool

    init(_ algorithm: Handle) {
        self.algorithm = algorithm
        unsafe context = EVP_MD_CTX_new()
        unsafe isSound = context != nil
    }

    deinit { unsafe EVP_MD_CTX_free(context) }

    mutating func start() {
        guard isSound else { return }
        isSound = unsafe EVP_DigestInit_ex(context, algorithm.pointer, nil) == 1
    }

    mutating func update(_ bytes: Span<UInt8>) {
        guard isSound, !bytes.isEmpty else { return }
        isSound = unsafe bytes.withUnsafeBufferPointer {
            unsafe EVP_DigestUpdate(context, $0.baseAddress, $0.count) == 1
        }
    }

    /// - Parameter output: at least 32 bytes.
    mutating func finish(into output: inout MutableSpan<UInt8>) {
        guard isSound else { return }
        isSound = unsafe output.withUnsafeMutableBufferPointer {
            unsafe $0.count >= Self.length && EVP_DigestFinal_ex(context, $0.baseAddress, nil) == 1
        }
    }

    /// HMAC (RFC 2104) of `first`, `second` and `third` on end.
    mutating func authenticate(
        key: Span<UInt8>, _ first: Span<UInt8>, _ second: Span<UInt8>, _ third: Span<UInt8>,
        into output: inout MutableSpan<UInt8>
    ) {
        var block = InlineArray<64, UInt8>(repeating: 0)
        var space = block.mutableSpan
        if key.count > Self.blockLength {
            start()
            update(key)
            finish(into: &space)
        } else {
            for index in key.indices { space[index] = key[index] }
        }
        for index in space.indices { space[index] ^= 0x36 }
        start()
        update(space.span)
        update(first)
        update(second)
        update(third)
        var inner = InlineArray<32, UInt8>(repeating: 0)
        var innerSpan = inner.mutableSpan
        finish(into: &innerSpan)
        for index in space.indices { space[index] ^= 0x36 ^ 0x5c }
        start()
        update(space.span)
        update(innerSpan.span)
        finish(into: &output)
        Self.erase(&space)
        Self.erase(&innerSpan)
    }

    /// What libcrypto calls cleansing: not optimized away.
    static func erase(_ bytes: inout MutableSpan<UInt8>) {
        unsafe bytes.withUnsafeMutableBufferPointer { unsafe OPENSSL_cleanse($0.baseAddress, $0.count) }
    }
}
