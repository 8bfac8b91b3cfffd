import Firewall

/// Runs the few classic BPF instructions that our filters use, as the kernel does.
enum FilterInterpreter {
    struct UnknownInstruction: Error { var code: UInt16 }
    struct RanOffTheEnd: Error {}

    /// - Parameter packet: from the IP header on.
    /// - Returns: what the program returns; 0 if it loads beyond the packet.
    static func run(_ program: [FilterInstruction], _ packet: [UInt8]) throws -> UInt32 {
        var a: UInt32 = 0
        var x: UInt32 = 0
        var memory = [UInt32](repeating: 0, count: 16)
        var counter = 0
        while counter < program.count {
            let instruction = program[counter]
            counter += 1
            switch instruction.code {
            case FilterCode.loadHeaderLengthX:
                guard let value = load(packet, at: instruction.k, bytes: 1) else { return 0 }
                x = 4 * (value & 15)
            case FilterCode.loadByteAbsolute:
                guard let value = load(packet, at: instruction.k, bytes: 1) else { return 0 }
                a = value
            case FilterCode.loadByteIndirect:
                guard let value = load(packet, at: x + instruction.k, bytes: 1) else { return 0 }
                a = value
            case FilterCode.loadHalfAbsolute:
                guard let value = load(packet, at: instruction.k, bytes: 2) else { return 0 }
                a = value
            case FilterCode.loadHalfIndirect:
                guard let value = load(packet, at: x + instruction.k, bytes: 2) else { return 0 }
                a = value
            case FilterCode.loadConstantX: x = instruction.k
            case FilterCode.store: memory[Int(instruction.k)] = a
            case FilterCode.loadStored: a = memory[Int(instruction.k)]
            case FilterCode.loadStoredX: x = memory[Int(instruction.k)]
            case FilterCode.moveToX: x = a
            case FilterCode.addX: a &+= x
            case FilterCode.add: a &+= instruction.k
            case FilterCode.multiply: a &*= instruction.k
            case FilterCode.and: a &= instruction.k
            case FilterCode.shiftLeft: a <<= instruction.k
            case FilterCode.shiftRight: a >>= instruction.k
            case FilterCode.modulo: a %= instruction.k
            case FilterCode.jumpIfEqual:
                counter += Int(a == instruction.k ? instruction.jumpTrue : instruction.jumpFalse)
            case FilterCode.returnConstant: return instruction.k
            default: throw UnknownInstruction(code: instruction.code)
            }
        }
        throw RanOffTheEnd()
    }

    private static func load(_ packet: [UInt8], at offset: UInt32, bytes: Int) -> UInt32? {
        let start = Int(offset)
        guard start + bytes <= packet.count else { return nil }
        return packet[start..<start + bytes].reduce(0) { $0 << 8 | UInt32($1) }
    }
}
