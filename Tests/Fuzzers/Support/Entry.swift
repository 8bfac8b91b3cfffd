/// libFuzzer's entry. Every fuzzer defines `fuzz(_ input: [UInt8])` and traps where something is wrong.
@_cdecl("LLVMFuzzerTestOneInput")
public func fuzzerEntry(_ start: UnsafePointer<UInt8>, _ count: Int) -> CInt {
    fuzz(Array(UnsafeBufferPointer(start: start, count: count)))
    return 0
}
