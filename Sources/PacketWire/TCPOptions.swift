/// Option kinds the engine reads (IANA TCP parameters).
public enum TCPOptionKind {
    public static let end: UInt8 = 0
    public static let noOperation: UInt8 = 1
    public static let maximumSegmentSize: UInt8 = 2
    public static let windowScale: UInt8 = 3
    public static let sackPermitted: UInt8 = 4
    public static let sack: UInt8 = 5
    public static let timestamps: UInt8 = 8
    public static let mptcp: UInt8 = 30
    public static let fastOpen: UInt8 = 34
    public static let encryptionNegotiation: UInt8 = 69
}

/// The option part of one TCP header, owned and editable: 0 to 40 bytes.
///
/// Parsing stops where the bytes stop making sense, as every receiver does.
public struct TCPOptions: Sendable {
    public static let capacity = 40

    public static func == (a: borrowing TCPOptions, b: borrowing TCPOptions) -> Bool {
        guard a.count == b.count else { return false }
        for index in 0..<a.count where a.storage[index] != b.storage[index] { return false }
        return true
    }

    private var storage = InlineArray<40, UInt8>(repeating: 0)
    public private(set) var count = 0

    public init() {}

    /// Copies the options of a parsed packet without alignment NOPs and padding.
    public init(_ packet: TCPPacket, of bytes: Span<UInt8>) {
        self.init(parsing: bytes.extracting(packet.options))
    }

    /// - Parameter bytes: an option field; what follows its 40th byte is ignored.
    public init(parsing bytes: Span<UInt8>) {
        let field = bytes.extracting(0..<min(bytes.count, Self.capacity))
        var index = 0
        while let option = Self.option(at: &index, in: field) {
            append(field.extracting(option))
        }
    }

    /// The next option that is neither NOP nor end, kind and length byte included.
    private static func option(at index: inout Int, in bytes: Span<UInt8>) -> Range<Int>? {
        while index < bytes.count, bytes[index] == TCPOptionKind.noOperation { index += 1 }
        guard index + 1 < bytes.count, bytes[index] != TCPOptionKind.end else { return nil }
        let length = Int(bytes[index + 1])
        guard length >= 2, index + length <= bytes.count else { return nil }
        defer { index += length }
        return index..<index + length
    }

    public var span: Span<UInt8> {
        @_lifetime(borrow self)
        get { storage.span.extracting(0..<count) }
    }

    /// The first option of `kind`, kind and length byte included, as a range of ``span``.
    public func range(of kind: UInt8) -> Range<Int>? {
        var index = 0
        return next(kind, from: &index)
    }

    /// All options of `kind`, in order.
    public func ranges(of kind: UInt8) -> [Range<Int>] {
        var index = 0
        var found: [Range<Int>] = []
        while let option = next(kind, from: &index) { found.append(option) }
        return found
    }

    /// The first option of `kind` from `index` on, which is moved behind it.
    func next(_ kind: UInt8, from index: inout Int) -> Range<Int>? {
        while let option = Self.option(at: &index, in: span) {
            if storage[option.lowerBound] == kind { return option }
        }
        return nil
    }

    /// Calls `body` with each option of `kind`, kind and length byte included.
    public func forEach(of kind: UInt8, _ body: (Span<UInt8>) -> Void) {
        var index = 0
        while let option = next(kind, from: &index) { body(span.extracting(option)) }
    }

    /// The bytes behind kind and length of the first option of `kind`.
    public func contents(of kind: UInt8) -> [UInt8]? {
        guard let range = range(of: kind) else { return nil }
        return (range.lowerBound + 2..<range.upperBound).map { storage[$0] }
    }

    public func contains(_ kind: UInt8) -> Bool { range(of: kind) != nil }

    /// Room for more, in bytes.
    public var room: Int { Self.capacity - count }

    /// Appends a whole option; false (and nothing changed) where it does not fit.
    @discardableResult
    public mutating func append(_ option: Span<UInt8>) -> Bool {
        guard option.count <= room else { return false }
        for index in 0..<option.count { storage[count + index] = option[index] }
        count += option.count
        return true
    }

    public mutating func remove(_ kind: UInt8) {
        while let range = range(of: kind) { remove(range) }
    }

    /// Takes bytes out; what follows moves up.
    mutating func remove(_ range: Range<Int>) {
        for index in range.upperBound..<count { storage[index - range.count] = storage[index] }
        count -= range.count
    }

    /// Replaces the first option of `kind`, or appends; false where it does not fit.
    @discardableResult
    public mutating func replace(_ kind: UInt8, with option: Span<UInt8>) -> Bool {
        if let old = range(of: kind) {
            guard option.count <= room + old.count else { return false }
            remove(old)
        }
        return append(option)
    }

    /// Overwrites one byte of an option found before.
    public mutating func set(_ value: UInt8, at index: Int) {
        guard index < count else { return }
        storage[index] = value
    }

    /// Sets four bytes from `index` on, in network order; bytes behind the end are not there.
    public mutating func setUInt32(_ value: UInt32, at index: Int) {
        for byte in 0..<4 { set(UInt8(truncatingIfNeeded: value >> UInt32(24 - 8 * byte)), at: index + byte) }
    }

    /// The length of the header field: a multiple of 4.
    public var paddedCount: Int { (count + 3) & ~3 }

    /// Writes the options, aligned at the front by NOPs as receivers on the fast path like them.
    ///
    /// What follows stays at an even place, and the MSS of a SYN in front: routers that clamp the MSS or shift timestamps mend the
    /// checksum as if these could stand nowhere else (Linux' xt_TCPMSS, measured on 6.18: no such SYN ever arrives).
    public func write(into output: inout MutableSpan<UInt8>, at start: Int) {
        let padding = paddedCount - count
        let isSYN = count > 0 && storage[0] == TCPOptionKind.maximumSegmentSize
        let front = isSYN ? 0 : padding & ~1
        for index in 0..<front { output[start + index] = TCPOptionKind.noOperation }
        for index in 0..<count { output[start + front + index] = storage[index] }
        for index in front + count..<paddedCount { output[start + index] = TCPOptionKind.noOperation }
    }
}

extension TCPOptions {
    /// The maximum segment size of a SYN in bytes (RFC 9293 section 3.7.1).
    public var maximumSegmentSize: UInt16? {
        guard let range = range(of: TCPOptionKind.maximumSegmentSize), range.count == 4 else { return nil }
        return span.loadUInt16(at: range.lowerBound + 2)
    }

    /// Sets the one MSS option there is afterwards: of several, kernels obey the last. It comes first, where it does not fit not at all.
    public mutating func setMaximumSegmentSize(_ size: UInt16) {
        let option: [UInt8] = [2, 4, UInt8(truncatingIfNeeded: size >> 8), UInt8(truncatingIfNeeded: size)]
        remove(TCPOptionKind.maximumSegmentSize)
        let others = self
        guard others.room >= option.count else { return }
        self = TCPOptions()
        append(option.span)
        append(others.span)
    }

    /// The window shift of a SYN, at most 14 (RFC 7323 section 2.3).
    public var windowScale: Int? {
        guard let range = range(of: TCPOptionKind.windowScale), range.count == 3 else { return nil }
        return min(14, Int(span[range.lowerBound + 2]))
    }

    /// TSval and TSecr (RFC 7323 section 3.2).
    public var timestamps: (value: UInt32, echo: UInt32)? {
        guard let range = range(of: TCPOptionKind.timestamps), range.count == 10 else { return nil }
        return (span.loadUInt32(at: range.lowerBound + 2), span.loadUInt32(at: range.lowerBound + 6))
    }

    /// Sets timestamps that say nothing, false where they do not fit: 0 is not taken for older than what follows.
    public mutating func setEmptyTimestamps() -> Bool {
        let option: [UInt8] = [TCPOptionKind.timestamps, 10, 0, 0, 0, 0, 0, 0, 0, 0]
        return replace(TCPOptionKind.timestamps, with: option.span)
    }

    /// SACK blocks in the order sent; a D-SACK comes first (RFC 2018, RFC 2883).
    public var sackBlocks: [(start: SequenceNumber, end: SequenceNumber)] {
        guard let range = range(of: TCPOptionKind.sack), range.count % 8 == 2 else { return [] }
        return stride(from: range.lowerBound + 2, to: range.upperBound, by: 8).map {
            (SequenceNumber(span.loadUInt32(at: $0)), SequenceNumber(span.loadUInt32(at: $0 + 4)))
        }
    }
}
