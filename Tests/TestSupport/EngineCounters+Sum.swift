public import FlowEngine

extension EngineCounters {
    /// The counts of several engines together.
    public static func + (left: Self, right: Self) -> Self {
        var sum = left
        sum.packetsOut += right.packetsOut
        sum.packetsIn += right.packetsIn
        sum.framesSealed += right.framesSealed
        sum.framesOpened += right.framesOpened
        sum.publicKeyOperations += right.publicKeyOperations
        sum.keyExchangesPutOff += right.keyExchangesPutOff
        sum.freshHandshakes += right.freshHandshakes
        sum.resumptions += right.resumptions
        sum.joins += right.joins
        sum.joinsRefused += right.joinsRefused
        sum.fallbacks += right.fallbacks
        sum.authFailures += right.authFailures
        sum.aborts += right.aborts
        sum.resetsDoubted += right.resetsDoubted
        sum.packetsHeld += right.packetsHeld
        sum.packetsInjected += right.packetsInjected
        sum.packetsDropped += right.packetsDropped
        sum.malformed += right.malformed
        sum.icmpTranslated += right.icmpTranslated
        return sum
    }
}
