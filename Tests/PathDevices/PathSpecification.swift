/// Bits per second.
public struct BitRate: Sendable, Hashable {
    public let bitsPerSecond: Int64

    public init(bitsPerSecond: Int64) { self.bitsPerSecond = max(1, bitsPerSecond) }

    func time(for bytes: Int) -> Int64 { Int64(Double(bytes) * 8e9 / Double(bitsPerSecond)) }
    func bytes(in nanoseconds: Int64) -> Int { Int(Double(nanoseconds) * Double(bitsPerSecond) / 8e9) }

    /// A tenth of a second, and never less than a few packets.
    var defaultQueue: Int { max(30_000, bytes(in: 100_000_000)) }
}

/// One device of a path with its parameters. Times are nanoseconds, chances 0 to 1.
public enum DeviceSpecification: Sendable, Hashable {
    case delay(Int64)
    case jitter(Int64)
    /// - Parameter queue: bytes that may wait; nil for a tenth of a second.
    case rate(BitRate, queue: Int?)
    case loss(Double)
    case burst(Double, run: Double)
    case reorder(Double, extra: Int64)
    case duplicate(Double)
    case corrupt(Double)
    case tamper(Double)
    case stripENO(SegmentChoice)
    case stripMPTCP(SegmentChoice)
    case clearOptions(all: Bool)
    case clampMSS(Int)
    case split(Int)
    case coalesce(limit: Int)
    case renumber
    case mtu(Int, isSilent: Bool)
    case proxyAck
    case synProxy(size: Int)
}

/// The devices that packets of one direction pass, in order.
///
/// The text form is a list of words separated by spaces or commas, such as `delay=25ms rate=100mbit loss=1%`.
public struct PathSpecification: Sendable, Hashable {
    public var devices: [DeviceSpecification]

    public init(_ devices: [DeviceSpecification] = []) { self.devices = devices }

    /// - Throws: ``PathSpecificationError`` where a word names no device, or its value makes no sense.
    public init(parsing text: some StringProtocol) throws(PathSpecificationError) {
        devices = []
        for word in text.split(whereSeparator: { $0 == "," || $0.isWhitespace }) {
            guard devices.count < 100 else { throw PathSpecificationError(word: "", reason: "more than 100 devices") }
            try add(String(word))
        }
    }

    private mutating func add(_ word: String) throws(PathSpecificationError) {
        let parts = word.split(separator: "=", maxSplits: 1, omittingEmptySubsequences: false).map(String.init)
        let name = parts.first ?? ""
        let reader = ValueReader(word: word, text: parts.count == 2 ? parts[1] : nil)
        if name == "queue" {
            guard case .rate(let rate, _)? = devices.last else {
                throw reader.error("a queue belongs to a rate before it")
            }
            devices[devices.count - 1] = .rate(rate, queue: try reader.size(1...1_000_000_000))
            return
        }
        guard let kind = DeviceKind.all.first(where: { $0.name == name }) else {
            throw reader.error("there is no such device")
        }
        devices.append(try kind.read(reader))
    }
}

/// Why a text is no ``PathSpecification``.
public struct PathSpecificationError: Error, Hashable, Sendable, CustomStringConvertible {
    public let word: String
    public let reason: String

    public var description: String { "'\(word.prefix(60))': \(reason)" }
}
