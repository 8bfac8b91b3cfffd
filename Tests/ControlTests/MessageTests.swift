import ControlProtocol
import Testing

@Suite struct MessageTests {
    /// The text programs depend on: a change here breaks them.
    @Test func connectionsGolden() {
        let golden =
            #"[{"kind":"mptcp","local_token":"00abcdef","remote_token":null,"subflows":["#
            + #"{"local":"10.0.1.1:43210","remote":"10.0.1.2:80","state":"encrypted","origin":"fresh","#
            + #""tep":"TCPCRYPT_ECDHE_Curve25519","aead":"AEAD_AES_128_GCM","role":"A","peer_application_aware":true,"#
            + #""session_id":"2300ab","#
            + #""secret_index":0,"local_generation":2,"remote_generation":1,"plain_bytes_in":1000,"plain_bytes_out":10,"wire_bytes_in":1100,"#
            + #""wire_bytes_out":130,"auth_failures":1,"reason":null},"#
            + #"{"local":"[2001:db8::1]:43211","remote":"[2001:db8::2]:80","state":"handshake","origin":"join","#
            + #""tep":null,"aead":null,"role":"B","peer_application_aware":null,"session_id":null,"#
            + #""secret_index":3,"local_generation":null,"remote_generation":null,"plain_bytes_in":0,"plain_bytes_out":0,"wire_bytes_in":0,"#
            + #""wire_bytes_out":0,"auth_failures":0,"reason":null}]},"#
            + #"{"kind":"tcp","local_token":null,"remote_token":null,"subflows":["#
            + #"{"local":"10.0.1.1:5000","remote":"10.0.1.2:8080","state":"plain","origin":null,"#
            + #""tep":null,"aead":null,"role":null,"peer_application_aware":null,"session_id":null,"#
            + #""secret_index":null,"local_generation":null,"remote_generation":null,"plain_bytes_in":0,"plain_bytes_out":0,"wire_bytes_in":0,"#
            + #""wire_bytes_out":0,"auth_failures":0,"reason":"peer sent no ENO option"}]}]"#
        #expect(Samples.answer(.connections).payload.text == golden)
    }

    @Test func otherGoldens() {
        #expect(
            Samples.answer(.status).payload.text
                == #"{"version":"1.0","uptime_ms":12,"teps":["TCPCRYPT_ECDHE_Curve25519"],"#
                + #""aeads":["AEAD_AES_128_GCM"],"resumption":true,"excluded_ports":[22,443],"#
                + #""policies":0,"randomness_seeded":true,"#
                + #""workers":1,"queues":[31850,31851,31852],"flows":{"handshake":1,"encrypted":2,"plain":3},"sessions":4,"#
                + #""key_log":{"path":"/root/keys","lines":5,"failures":1},"#
                + #""counters":{"packets_out":7,"public_key_operations":2}}"#)
        #expect(
            Samples.answer(.sessions).payload.text
                == #"[{"tep":"TCPCRYPT_ECDHE_Curve25519","aead":"AEAD_AES_128_GCM","role":"B","next_index":4,"#
                + #""peers":["10.0.1.2","2001:db8::2"],"age_ms":1500}]"#)
        #expect(Samples.answer(.flushSessions()).json.text == #"{"response":"flushed","flushed":1}"#)
        #expect(ControlResponse.error("no").json.text == #"{"response":"error","error":"no"}"#)
        #expect(ControlRequest.flushSessions().json.text == #"{"request":"flush-sessions"}"#)
        #expect(
            ControlRequest.flushSessions(peer: "10.0.0.0/8").json.text
                == #"{"request":"flush-sessions","peer":"10.0.0.0/8"}"#)
    }

    @Test(arguments: Samples.requests)
    func everyAnswerIsReadAgain(request: ControlRequest) throws {
        let response = Samples.answer(request)
        #expect(try ControlResponse(line: response.line.dropLast(), limit: 1 << 20) == response)
        #expect(try ControlRequest(line: request.line.dropLast(), limit: 100) == request)
    }

    @Test func membersOfANewerDaemonAreIgnored() throws {
        let text = #"{"response":"flushed","flushed":2,"new":{"x":[]}}"#
        #expect(try ControlResponse(line: Array(text.utf8), limit: 1000) == .flushed(2))
    }

    @Test(
        "wrong shapes",
        arguments: [
            #"[]"#, #"{}"#, #"{"response":"weather"}"#, #"{"response":"flushed"}"#,
            #"{"response":"flushed","flushed":"2"}"#, #"{"response":"flushed","flushed":1.5}"#,
            #"{"response":"error","error":null}"#, #"{"response":"connections","connections":{}}"#,
            #"{"response":"connections","connections":[7]}"#,
            #"{"response":"connections","connections":[{"kind":"udp","subflows":[]}]}"#,
            #"{"response":"connections","connections":[{"kind":"mptcp","local_token":"xyz","subflows":[]}]}"#,
            #"{"response":"counters","counters":{"a":-1}}"#,
        ])
    func refusesWrongShapes(text: String) {
        #expect(throws: ControlProtocolError.self) {
            try ControlResponse(line: Array(text.utf8), limit: 1000)
        }
    }

    @Test func countersOfAnyValueByName() {
        struct Counts {
            var packetsOut: UInt64 = 3
            var publicKeyOperations: UInt64 = 1
            var note = "not a count"
        }
        let message = CountersMessage(reflecting: Counts())
        #expect(message.counters == [.init("packets_out", 3), .init("public_key_operations", 1)])
        #expect(message["packets_out"] == 3)
        #expect(message["absent"] == 0)
    }
}
