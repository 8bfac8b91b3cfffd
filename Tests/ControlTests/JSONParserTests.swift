import ControlProtocol
import Testing

@Suite struct JSONParserTests {
    private func parse(_ text: String) throws(ControlProtocolError) -> JSONValue {
        try JSONValue(parsing: Array(text.utf8), limit: 1 << 20)
    }

    @Test(
        "values that are JSON",
        arguments: [
            ("null", .null), (" true ", .bool(true)), ("false", .bool(false)),
            ("0", .integer(0)), ("-0", .integer(0)), ("-17", .integer(-17)),
            ("9223372036854775807", .integer(Int64.max)), ("-9223372036854775808", .integer(Int64.min)),
            ("9223372036854775808", .number(9_223_372_036_854_775_808)),
            ("1.5", .number(1.5)), ("1e2", .number(100)), ("1E+2", .number(100)), ("25e-1", .number(2.5)),
            (#""""#, .string("")), (#""a\"\\\/\b\f\n\r\t""#, .string("a\"\\/\u{8}\u{C}\n\r\t")),
            (#""\u00e9\ud83d\ude00""#, .string("é😀")), (#""é😀""#, .string("é😀")), (#""\u0000""#, .string("\0")),
            ("[]", .array([])), ("[1,[2]]", .array([.integer(1), .array([.integer(2)])])),
            ("{}", .object([])), ("\t{\"b\" : 1 ,\r\n\"a\":null}", ["b": .integer(1), "a": .null]),
        ] as [(String, JSONValue)])
    func accepts(text: String, value: JSONValue) throws {
        #expect(try parse(text) == value)
    }

    @Test(
        "texts that are not JSON",
        arguments: [
            "", " ", "nul", "nulll", "True", "+1", "01", "-", "1.", ".5", "1e", "1e+", "0x1", "1e999", "NaN",
            "Infinity",
            "\"", "\"\\", "\"\\x\"", "\"\\u12\"", "\"\\u12g4\"", "\"\\ud800\"", "\"\\ud800\\u0041\"", "\"\\ud800x\"",
            "\"\\udc00\"", "\"a\nb\"", "\"\u{1}\"", "[", "[1", "[1,", "[1,]", "[,1]", "[1 2]", "]", "{", "{\"a\"",
            "{\"a\":", "{\"a\":1", "{\"a\":1,", "{\"a\":1,}", "{a:1}", "{\"a\" 1}", "{1:1}", "{\"a\":1,\"a\":2}",
            "1 2", "{} x", "// x\n1", "'a'",
        ])
    func refuses(text: String) {
        #expect(throws: ControlProtocolError.self) { try parse(text) }
    }

    @Test func errorNamesTheByte() {
        #expect(throws: ControlProtocolError.syntax("expected , or ]", offset: 3)) { try parse("[1 2]") }
    }

    @Test(
        "bytes that are not UTF-8",
        arguments: [[0xFF], [0xC0, 0x80], [0xED, 0xA0, 0x80], [0xF4, 0x90, 0x80, 0x80], [0xE2, 0x82]] as [[UInt8]])
    func refusesBadUTF8(bytes: [UInt8]) {
        #expect(throws: ControlProtocolError.self) {
            try JSONValue(parsing: [0x22] + bytes + [0x22], limit: 100)
        }
    }

    @Test func depthIsBounded() throws {
        func nested(_ depth: Int) -> String {
            String(repeating: "[", count: depth) + String(repeating: "]", count: depth)
        }
        _ = try parse(nested(JSONValue.maximumDepth))
        #expect(throws: ControlProtocolError.self) { try parse(nested(JSONValue.maximumDepth + 1)) }
        #expect(throws: ControlProtocolError.self) { try parse(String(repeating: "[", count: 1_000_000)) }
        #expect(throws: ControlProtocolError.self) { try parse(String(repeating: "{\"a\":", count: 100_000)) }
    }

    @Test func lengthIsBounded() throws {
        _ = try JSONValue(parsing: Array("[1]".utf8), limit: 3)
        #expect(throws: ControlProtocolError.self) { try JSONValue(parsing: Array("[1] ".utf8), limit: 3) }
    }

    @Test(
        "text written",
        arguments: [
            (["z": .integer(1), "a": .array([.null, .bool(true)])], #"{"z":1,"a":[null,true]}"#),
            (.string("\u{1B}[31m\"\\\n\u{7F}\u{9B}é"), #""\u001b[31m\"\\\n\u007f\u009bé""#),
            (.number(0.5), "0.5"), (.number(.infinity), "null"), (.count(UInt64.max), "9223372036854775807"),
        ] as [(JSONValue, String)])
    func writes(value: JSONValue, text: String) {
        #expect(value.text == text)
    }
}
