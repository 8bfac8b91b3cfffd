import PacketWire
import Tcpcrypt

private let crypto = ToyCrypto()

/// Any bytes as a frame: to the parser of its clear head, and to openers, between genuine frames that must still open; with a TEP whose
/// frames carry signals, and with one of RFC 8548's.
func fuzz(_ input: [UInt8]) {
    if let control = Frame.parseControl(input.span) {
        require(control.length >= Frame.overhead && control.length <= 3 + 65_535, "a frame's length is possible")
    }
    for tep in [TEP.curve25519, .curve25519MPTCP] { fuzz(Choices(input), tep) }
}

private func fuzz(_ input: Choices, _ tep: TEP) {
    guard let (sealer, opener) = streams(tep) else { fatalError("the toy key exchange works") }
    var pair = Pair(sealer: sealer, opener: opener, hasSignals: tep.protectsSignals)
    var choices = input
    while !choices.isEmpty {
        switch choices.below(4) {
        case 0:
            let (data, flags) = (choices.take(choices.below(64)), choices.byte())
            pair.genuine(data, flags, signals: flags & 8 == 0 ? [] : choices.take(choices.below(48)))
        case 1: pair.forged(choices.take(choices.below(200)))
        case 2: pair.damaged(choices.take(20), choices.word(), choices.byte(), signals: [30, 4, 0x40, 7])
        default: pair.forged(choices.rest())
        }
    }
}

private struct Pair {
    var sealer: FrameSealer
    var opener: FrameOpener
    let hasSignals: Bool
    var offset: UInt64 = 0
    var ended = false

    private func sealed(
        _ data: [UInt8], _ flags: UInt8, _ signals: [UInt8], _ sealer: inout FrameSealer
    ) -> [UInt8]? {
        let urgent: UInt16? = flags & 2 == 0 ? nil : 77
        let length = Frame.length(data: data.count, urgent: urgent != nil, signals: signals.count)
        var frame = [UInt8](repeating: 0, count: length)
        var target = frame.mutableSpan
        let isSealed = sealer.seal(
            data: data.span, urgent: urgent, fin: flags & 1 != 0, rekey: flags & 4 != 0, signals: signals.span,
            offset: offset, into: &target)
        require(isSealed || signals.count > Frame.maximumSignals, "what fits is sealed")
        return isSealed ? frame : nil
    }

    private mutating func opened(_ frame: [UInt8], room: Int) -> (OpenedFrame?, [UInt8]) {
        var output = [UInt8](repeating: 0, count: room)
        var target = output.mutableSpan
        let result = opener.open(frame.span, offset: offset, into: &target)
        return (result, output)
    }

    mutating func genuine(_ data: [UInt8], _ flags: UInt8, signals: [UInt8]) {
        let signals = hasSignals ? signals : []
        guard !ended, let frame = sealed(data, flags, signals, &sealer) else { return }
        let (result, output) = opened(frame, room: data.count + 2)
        guard let result else { fatalError("a genuine frame opens, whatever was tried before") }
        require(result.dataLength == data.count && Array(output[..<data.count]) == data, "the data is the data")
        require(result.fin == (flags & 1 != 0) && result.rekey == (flags & 4 != 0), "flags are kept")
        require(result.lead == frame.count - data.count - 16, "what is in front of the data is known")
        require(result.signals == TCPOptions(parsing: signals.span), "signals are kept")
        require((result.urgent != nil) == (flags & 2 != 0), "urgent is kept")
        require(opener.generation == sealer.generation, "generations agree")
        offset += UInt64(frame.count)
        ended = result.fin
    }

    mutating func forged(_ bytes: [UInt8]) {
        let generation = opener.generation
        let (result, _) = opened(bytes, room: max(0, bytes.count))
        require(result == nil, "a forged frame does not open")
        require(opener.generation == generation, "a forged frame changes nothing")
    }

    /// A genuine frame with one byte changed.
    mutating func damaged(_ data: [UInt8], _ position: Int, _ change: UInt8, signals: [UInt8]) {
        // On a copy: the sealer must not use up the offset.
        var copy = sealer
        guard !ended, change != 0, var frame = sealed(data, 0, hasSignals ? signals : [], &copy) else { return }
        let index = position % frame.count
        // Reserved bits of control, and the length of signals, are covered by the tag as well.
        frame[index] ^= change
        forged(frame)
    }
}

private func streams(_ tep: TEP) -> (FrameSealer, FrameOpener)? {
    let random = ToyRandom(5)
    let a = KeyExchangeA(tep: tep, aeads: [.aes128GCM], transcript: [1], crypto: crypto, random: random)
    guard
        let b = try? KeyExchangeB(
            init1: a.init1.span, tep: tep, aeads: [.aes128GCM], transcript: [1], crypto: crypto, random: random),
        let ours = try? a.finish(init2: b.init2.span), let theirs = try? b.finish()
    else { return nil }
    return (ours.streams(crypto).sealer, theirs.streams(crypto).opener)
}
