import ControlProtocol

/// Any bytes as a line on the control socket, in either direction; what is understood survives being written and read again.
func fuzz(_ input: [UInt8]) {
    if let value = try? JSONValue(parsing: input, limit: 4096) {
        guard let again = try? JSONValue(parsing: Array(value.text.utf8), limit: 1 << 20) else {
            fatalError("what was written parses")
        }
        require(again.text == value.text, "writing is stable")
    }
    if let request = try? ControlRequest(line: input, limit: ControlProtocol.maximumRequestBytes) {
        require(
            (try? ControlRequest(line: Array(request.line.dropLast()), limit: 4096)) == request, "a request survives")
    }
    if let response = try? ControlResponse(line: input, limit: 1 << 20) {
        require(
            (try? ControlResponse(line: Array(response.line.dropLast()), limit: 1 << 20)) == response,
            "a response survives")
    }
}
