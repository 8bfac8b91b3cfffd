import PacketWire
import Tcpcrypt

/// How long frames are, and how they lie in the segments that carry them.
///
/// Nothing of a frame counts before all of it has arrived. Where packets get lost that costs: the pieces in front of a missing one
/// stay unacknowledged, the sender takes them for lost and repeats them, and repeats them again when that changes nothing.
/// So where packets may get lost, every segment carries a frame of its own, as TCP's segments do: on long paths, and while the local
/// kernel has something to repeat. On short ones frames are long, for the sake of speed.
extension Flow {
    /// Whether the path is long, or the local kernel repeated something lately.
    func wantsShortFrames(_ now: Instant) -> Bool {
        roundTrip >= FlowTime.longPath || lastRepetition.map { now.milliseconds(since: $0) < FlowTime.lossy } ?? false
    }

    /// Notes data of the kernel's that was sent before.
    func noteRepetition(from k: Int, to end: Int, _ now: Instant) {
        // What begins below the oldest unacknowledged byte is a question.
        if k >= send.acknowledgedK, end > k, end <= send.nextK { lastRepetition = now }
    }

    /// Bytes of data a new frame may have.
    ///
    /// - Parameters:
    ///   - optionCount: bytes of options in the packet that carries it.
    ///   - superPacket: bytes of data in the super-packet that carries it, 0 where there is none.
    func frameLimit(optionCount: Int, superPacket: Int, _ now: Instant) -> Int {
        let largest = host.configuration.maximumFrameData
        guard wantsShortFrames(now) else { return largest }
        let segment = cutLimit(optionCount)
        // The kernel cuts a super-packet by the MSS it was told, which leaves room for a frame's overhead.
        let isCutByKernel = superPacket > Self.mostCut * segment
        let unit = segment - Frame.overhead - (isCutByKernel ? Frame.overhead : 0)
        return max(Self.leastFrame, min(largest, unit))
    }

    /// Whether a super-packet is to be cut here, so that each frame gets a segment of its own.
    ///
    /// Not where the kernel tries how long its segments may be (RFC 4821): nobody tells how long they are in a super-packet.
    func cutsSuperPacket(_ w: Range<Int>, segment: Int, _ arrival: Arrival) -> Bool {
        arrival.metadata.isGSO && !host.kernelProbesPaths && wantsShortFrames(arrival.now)
            && w.count <= (Self.mostCut + 1) * segment
    }

    /// Notes how long the kernel's segments are: without errors from routers it finds out itself what a path takes (RFC 4821),
    /// and what is cut here must not be longer than what it cuts.
    func noteSegment(_ packet: TCPPacket, _ options: borrowing TCPOptions, isGSO: Bool) {
        guard host.kernelProbesPaths, !isGSO, !packet.payload.isEmpty else { return }
        let size = packet.payload.count + options.paddedCount
        // The last segment of a write may be short.
        let isFull = packet.flags.isDisjoint(with: [.psh, .fin, .urg])
        if size > header.kernelSegment || isFull { header.kernelSegment = size }
    }

    /// Data bytes of one wire segment where the kernel's packet is cut here.
    func cutLimit(_ optionCount: Int) -> Int {
        let limit = segmentLimit(optionCount)
        guard host.kernelProbesPaths, header.kernelSegment < Int.max else { return limit }
        return min(limit, max(header.kernelSegment - optionCount, Self.leastFrame) + Frame.overhead)
    }

    /// Segments of a super-packet that are sent one by one. A longer one comes of a large congestion window: there the kernel
    /// does the cutting, and the runt that the overhead of the frames leaves matters little.
    private static let mostCut = 16
    /// A path that takes less than this does not get a frame for each segment.
    private static let leastFrame = 256
}
