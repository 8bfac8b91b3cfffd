import Glibc
import Testing

@testable import tcpcryptd

/// The key `key_log` of tcpcryptd.conf(5).
@Suite struct KeyLogSettingTests {
    private func settings(_ json: String) async throws(SettingsError) -> DaemonSettings {
        var template = Array("/tmp/tcpcrypt-settings-XXXXXX".utf8CString)
        let file = unsafe mkstemp(&template)
        let path = String(decoding: template.dropLast().map { UInt8(bitPattern: $0) }, as: UTF8.self)
        _ = unsafe Array(json.utf8).withUnsafeBytes { unsafe write(file, $0.baseAddress, $0.count) }
        close(file)
        defer { unsafe _ = unlink(path) }
        return try await DaemonSettings.load(path: path)
    }

    @Test func itIsOffUnlessNamed() async throws {
        #expect(try await settings("{}").keyLog == nil)
        #expect(try await settings(#"{"key_log": "/var/log/keys"}"#).keyLog == "/var/log/keys")
    }

    @Test(arguments: [#""""#, #""keys""#, #""./keys""#, #""/a\u0000b""#, "null", "1", "true", #"["/a"]"#])
    func itIsAnAbsolutePath(value: String) async {
        await #expect {
            try await settings(#"{"key_log": \#(value)}"#)
        } throws: { error in
            guard case .badValue(_, "key_log", _, "an absolute path")? = error as? SettingsError else { return false }
            return true
        }
    }
}
