/// Bytes of a C structure, field by field; the caller writes the padding.
struct NativeBytes {
    private(set) var bytes: [UInt8] = []

    mutating func append(_ value: [UInt8]) { bytes.append(contentsOf: value) }

    /// A number in the machine's own order.
    mutating func append(_ value: UInt16) { append(big: UInt16(bigEndian: value)) }

    mutating func append(_ value: UInt32) {
        let big = UInt32(bigEndian: value)
        append(big: UInt16(truncatingIfNeeded: big >> 16))
        append(big: UInt16(truncatingIfNeeded: big))
    }

    /// A number in network order.
    mutating func append(big value: UInt16) {
        bytes.append(UInt8(truncatingIfNeeded: value >> 8))
        bytes.append(UInt8(truncatingIfNeeded: value))
    }
}
