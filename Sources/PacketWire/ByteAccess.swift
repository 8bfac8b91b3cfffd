extension Span<UInt8> {
    /// Big-endian loads; the caller has checked the length.
    public func loadUInt16(at index: Int) -> UInt16 {
        UInt16(self[index]) << 8 | UInt16(self[index + 1])
    }

    public func loadUInt32(at index: Int) -> UInt32 {
        UInt32(loadUInt16(at: index)) << 16 | UInt32(loadUInt16(at: index + 2))
    }

    public func loadUInt64(at index: Int) -> UInt64 {
        UInt64(loadUInt32(at: index)) << 32 | UInt64(loadUInt32(at: index + 4))
    }
}

extension MutableSpan<UInt8> {
    /// Big-endian stores; the caller has checked the length.
    public mutating func store(_ value: UInt16, at index: Int) {
        self[index] = UInt8(truncatingIfNeeded: value >> 8)
        self[index + 1] = UInt8(truncatingIfNeeded: value)
    }

    public mutating func store(_ value: UInt32, at index: Int) {
        store(UInt16(truncatingIfNeeded: value >> 16), at: index)
        store(UInt16(truncatingIfNeeded: value), at: index + 2)
    }

    public mutating func copy(_ source: Span<UInt8>, at index: Int) {
        // A sub-span of the same length lets the compiler see one bounds check and make this a memcpy.
        var target = _mutatingExtracting(index..<index + source.count)
        for offset in 0..<source.count { target[offset] = source[offset] }
    }
}
