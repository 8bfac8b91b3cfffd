/// Bytes that must not outlive their use: session secrets, master keys, traffic keys, shared secrets.
///
/// They live inside the object, are overwritten when its last owner lets go, and appear in no description. There
/// is no way to get them out but ``withBytes(_:)``; nothing that leaves this process is made of it but ciphertext, and
/// the lines of a ``KeyLog`` where there is one.
public final class Secret {
    /// The longest secret there is, in bytes: the P-521 shared secret needs 66.
    public static let capacity = 72

    private var storage = Storage()
    /// Length in bytes.
    public let count: Int

    /// A secret of `count` bytes that `fill` writes in place; what it leaves alone is zero.
    public init(count: Int, _ fill: (inout MutableSpan<UInt8>) -> Void) {
        precondition((0...Self.capacity).contains(count), "secrets have fixed, small sizes")
        self.count = count
        storage.edit(0..<count, fill)
    }

    /// A copy of `bytes`; the original stays the caller's to wipe.
    public convenience init(copying bytes: Span<UInt8>) {
        self.init(count: bytes.count) { target in
            for index in bytes.indices { target[index] = bytes[index] }
        }
    }

    private struct Storage {
        var bytes = InlineArray<72, UInt8>(repeating: 0)

        mutating func edit(_ range: Range<Int>, _ body: (inout MutableSpan<UInt8>) -> Void) {
            var whole = bytes.mutableSpan
            var part = whole._mutatingExtracting(range)
            body(&part)
        }
    }

    deinit {
        storage.edit(0..<Self.capacity) { wipe(&$0) }
    }

    /// Lends the bytes. Nothing that holds them may outlive `body` unwiped.
    public func withBytes<Result, Failure: Error>(
        _ body: (Span<UInt8>) throws(Failure) -> Result
    ) throws(Failure) -> Result {
        try body(storage.bytes.span.extracting(0..<count))
    }

    /// The bytes of `range` as a secret of their own.
    func slice(_ range: Range<Int>) -> Secret {
        withBytes { Secret(copying: $0.extracting(range)) }
    }

    /// Compares in constant time.
    public func matches(_ other: Secret) -> Bool {
        withBytes { mine in other.withBytes { equalInConstantTime(mine, $0) } }
    }
}

extension Secret: CustomStringConvertible, CustomDebugStringConvertible, CustomReflectable {
    public var description: String { "Secret(\(count) bytes)" }
    public var debugDescription: String { description }
    public var customMirror: Mirror { Mirror(self, children: [:]) }
}

/// Overwrites bytes with zeros.
///
/// A call of its own, so that the optimizer does not see at the call's place that nobody reads them afterwards;
/// what follows every use is a deallocation, which it must assume reads them.
@inline(never)
public func wipe(_ bytes: inout MutableSpan<UInt8>) {
    for index in bytes.indices { bytes[index] = 0 }
}

/// Whether two byte strings are equal, in a time that depends on their lengths only.
public func equalInConstantTime(_ left: Span<UInt8>, _ right: Span<UInt8>) -> Bool {
    guard left.count == right.count else { return false }
    var difference: UInt8 = 0
    for index in left.indices { difference |= left[index] ^ right[index] }
    return difference == 0
}
