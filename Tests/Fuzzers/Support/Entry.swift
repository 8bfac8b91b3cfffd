import Glibc

/// libFuzzer's entry. Every fuzzer defines `fuzz(_ input: [UInt8])` and traps where something is wrong.
@_cdecl("LLVMFuzzerTestOneInput")
public func fuzzerEntry(_ start: UnsafePointer<UInt8>, _ count: Int) -> CInt {
    fuzz(Array(UnsafeBufferPointer(start: start, count: count)))
    if isPlanted { fatalError("planted, to show that a finding is seen") }
    return 0
}

/// Set by Scripts/fuzz for one input, which must then count as a finding.
private let isPlanted = getenv("FUZZ_PLANTED_CRASH") != nil
