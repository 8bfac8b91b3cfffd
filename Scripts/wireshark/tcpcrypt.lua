-- TCP-ENO (RFC 8547) and tcpcrypt (RFC 8548) for Wireshark and tshark, written for 4.0. With a key log of tcpcryptd (key_log in
-- tcpcryptd.conf(5)) it shows the plaintext, and hands it on to the dissector of the port.
--
--   tshark -X lua_script:tcpcrypt.lua -o tcpcrypt.keylog_file:FILE -o tcp.reassemble_out_of_order:TRUE -r CAPTURE
--
-- The second -o matters where segments were lost or reordered. A capture that begins behind the handshake has nothing that tells
-- tcpcrypt from other TCP; `-d tcp.port==PORT,tcpcrypt` says so, and shows the frames. With -2, tshark needs a filter (-Y or -R).
--
-- The algorithms are OpenSSL's, through Debian's lua-luaossl. Without it nothing is decrypted. It cannot take associated data, so
-- the tags of frames are not verified: what is shown would be the plaintext if the frame is authentic.

local folder = debug.getinfo(1, "S").source:match("^@(.*[/\\])")
local keys_of_log = dofile(folder .. "tcpcrypt_keys.lua")
local signals = dofile(folder .. "tcpcrypt_signals.lua")

local tcpcrypt = Proto("tcpcrypt", "tcpcrypt")

local public_key_lengths = { [0x20] = 32, [0x21] = 35, [0x22] = 69, [0x23] = 32, [0x24] = 56 }
local aead_names = { [0x01] = "AEAD_AES_128_GCM", [0x02] = "AEAD_AES_256_GCM", [0x10] = "AEAD_CHACHA20_POLY1305" }
local init1_magic, init2_magic = 0x15101a0e, 0x097105e0
local tag_length, control_length, shortest_ciphertext, longest_init = 16, 3, 17, 16384
-- The TEP whose frames carry signals (the article ProtectedSignalling of Tcpcrypt), and the most bytes of these.
local signalling_tep, most_signals = 0x20, 40

local field = {
    magic = ProtoField.uint32("tcpcrypt.init.magic", "Magic", base.HEX),
    message_length = ProtoField.uint32("tcpcrypt.init.length", "Message length"),
    cipher_count = ProtoField.uint8("tcpcrypt.init.nciphers", "AEAD algorithms"),
    cipher = ProtoField.uint16("tcpcrypt.init.cipher", "AEAD algorithm", base.HEX, aead_names),
    nonce_a = ProtoField.bytes("tcpcrypt.init.nonce_a", "N_A"),
    nonce_b = ProtoField.bytes("tcpcrypt.init.nonce_b", "N_B"),
    public_key = ProtoField.bytes("tcpcrypt.init.public_key", "Public key"),
    ignored = ProtoField.bytes("tcpcrypt.init.ignored", "Ignored"),
    control = ProtoField.uint8("tcpcrypt.frame.control", "Control", base.HEX),
    rekey = ProtoField.bool("tcpcrypt.frame.rekey", "Rekey", 8, nil, 0x01),
    signals_length = ProtoField.uint8("tcpcrypt.frame.signals_length", "Length of the signals", base.DEC, nil, 0xfe),
    clen = ProtoField.uint16("tcpcrypt.frame.clen", "Ciphertext length"),
    ciphertext = ProtoField.bytes("tcpcrypt.frame.ciphertext", "Ciphertext"),
    tag = ProtoField.bytes("tcpcrypt.frame.tag", "Tag"),
    offset = ProtoField.uint64("tcpcrypt.frame.offset", "Offset in the stream"),
    generation = ProtoField.uint32("tcpcrypt.frame.generation", "Generation"),
    flags = ProtoField.uint8("tcpcrypt.flags", "Flags", base.HEX),
    urgp = ProtoField.bool("tcpcrypt.flags.urgp", "URGp", 8, nil, 0x02),
    finp = ProtoField.bool("tcpcrypt.flags.finp", "FINp", 8, nil, 0x01),
    urgent = ProtoField.uint16("tcpcrypt.urgent", "Urgent"),
    signals = ProtoField.bytes("tcpcrypt.signals", "Signals"),
    data = ProtoField.bytes("tcpcrypt.data", "Data"),
    data_offset = ProtoField.uint64("tcpcrypt.data.offset", "Offset in the plaintext"),
    session_id = ProtoField.string("tcpcrypt.session_id", "Session ID"),
    undecrypted = ProtoField.string("tcpcrypt.undecrypted", "Not decrypted"),
    unframed = ProtoField.bytes("tcpcrypt.unframed", "Beginning of a frame not known"),
}
for name, each in pairs(signals.fields) do field[name] = each end
tcpcrypt.fields = field

local reserved_flags = ProtoExpert.new(
    "tcpcrypt.flags.reserved", "Reserved flags are set, or fields missing: damaged, forged, or other keys", expert.group.DECRYPTION, expert.severity.WARN)
local bad_length = ProtoExpert.new(
    "tcpcrypt.bad_length", "No message or frame has this length", expert.group.MALFORMED, expert.severity.ERROR)
tcpcrypt.experts = { reserved_flags, bad_length }

tcpcrypt.prefs.keylog_file = Pref.string("Key log file", "", "What tcpcryptd wrote to the path of its setting key_log")
tcpcrypt.prefs.hand_on = Pref.bool("Dissect the plaintext", true, "By the dissector of the port, except that of MPTCP joins")

local tcp_stream, tcp_seq, tcp_len = Field.new("tcp.stream"), Field.new("tcp.seq_raw"), Field.new("tcp.len")
local tcp_ack = Field.new("tcp.flags.ack")
local mptcp_subtype = Field.new("tcp.options.mptcp.subtype")
-- Fields have values only where somebody wants a tree; a filter does.
Listener.new("tcp", "tcp.stream && tcp.seq_raw && tcp.len && tcp.flags.ack")

-- The innermost, where one TCP is in another.
local function value_of(extractor)
    local all = { extractor() }
    return #all > 0 and all[#all].value or nil
end

local function hexadecimal(range) return range:len() > 0 and range:bytes():tohex(true) or "" end

local function uint64(number) return UInt64(number % 2 ^ 32, math.floor(number / 2 ^ 32)) end

-- Connections

local conversations

local function conversation_of(pinfo)
    local stream = value_of(tcp_stream)
    if not stream then return end
    local conversation = conversations[stream]
    if not conversation then
        conversation = { directions = {} }
        conversations[stream] = conversation
    end
    local sender = tostring(pinfo.src) .. " " .. pinfo.src_port
    local direction = conversation.directions[sender]
    if not direction then
        -- next: the first byte not seen yet; cursor: where the next frame begins, once that is known.
        direction = { frames = {}, starts = {}, generation = 0, plain = 0, rest = {}, rest_size = 0, needed = 1 }
        conversation.directions[sender] = direction
    end
    return conversation, direction
end

-- Where in the stream `tvb` begins, counted from the byte behind the SYN. What Wireshark has put together is a buffer of its own,
-- and begins with the first byte that was asked for again.
local function start_of(direction, tvb, pinfo)
    local name = ("%d %d %s"):format(pinfo.number, tvb:len(), hexadecimal(tvb(0, math.min(16, tvb:len()))))
    if direction.starts[name] then return direction.starts[name] end
    local start
    if tvb:offset() < 20 and direction.next then
        start = direction.next
    else
        local seq = value_of(tcp_seq)
        direction.isn = direction.isn or seq - 1
        local expected = direction.next or 0
        start = (seq - direction.isn - 1 - expected + 2 ^ 31) % 2 ^ 32 - 2 ^ 31 + expected + value_of(tcp_len) - tvb:reported_len()
    end
    direction.starts[name] = start
    return start
end

-- What a SYN or SYN-ACK says of resumption (RFC 8548 section 3.5), by TEP.
local function note_syn(pinfo, suboptions)
    local conversation, direction = conversation_of(pinfo)
    if not conversation or pinfo.visited then return end
    direction.isn = value_of(tcp_seq)
    if value_of(mptcp_subtype) == 1 then conversation.is_join = true end
    if not value_of(tcp_ack) then
        conversation.opener, conversation.offered = direction, suboptions
        return
    end
    for tep, name in pairs(suboptions) do
        conversation.tep = tep
        local offer = conversation.offered and conversation.offered[tep]
        conversation.is_resumed = name.half ~= nil and not (conversation.offered and not (offer and offer.half))
        if conversation.is_resumed then
            conversation.opener_name, conversation.acceptor_name = offer, name
        end
    end
    if conversation.tep then pinfo.conversation = tcpcrypt end
end

-- Init1 and Init2 (RFC 8548 section 4.1)

local function dissect_init(conversation, direction, tvb, tree, pinfo)
    local is_first, length = tvb(0, 4):uint() == init1_magic, tvb:len()
    local item = tree:add(tvb(), is_first and "Init1" or "Init2")
    item:add(field.magic, tvb(0, 4))
    item:add(field.message_length, tvb(4, 4))
    local at = 8
    if is_first then
        local count = tvb(8, 1):uint()
        item:add(field.cipher_count, tvb(8, 1))
        at = 9
        for _ = 1, count do
            if at + 2 > length then break end
            item:add(field.cipher, tvb(at, 2))
            at = at + 2
        end
    else
        item:add(field.cipher, tvb(8, 2))
        at = 10
    end
    pinfo.cols.info:append(is_first and " Init1" or " Init2")
    if at + 32 > length then
        item:add_proto_expert_info(bad_length)
        return
    end
    item:add(is_first and field.nonce_a or field.nonce_b, tvb(at, 32))
    conversation[is_first and "nonce_a" or "nonce_b"] = hexadecimal(tvb(at, 32))
    direction.role = is_first and "A" or "B"
    at = at + 32
    local key_length = math.min(public_key_lengths[conversation.tep] or length, length - at)
    if key_length > 0 then item:add(field.public_key, tvb(at, key_length)) end
    if at + key_length < length then item:add(field.ignored, tvb(at + key_length)) end
end

-- Plaintext

local ports = DissectorTable.get("tcp.port")
local is_handing_on = false
local most_kept = 16 * 2 ^ 20

local function dissect_plaintext(text, pinfo, tree)
    local tvb = ByteArray.new(text, true):tvb("Plaintext of the stream")
    is_handing_on, pinfo.can_desegment = true, 2
    local low, high = math.min(pinfo.src_port, pinfo.dst_port), math.max(pinfo.src_port, pinfo.dst_port)
    local dissector = ports:get_dissector(low)
    if not dissector or tostring(dissector) == "tcpcrypt" then dissector = ports:get_dissector(high) end
    if dissector and tostring(dissector) ~= "tcpcrypt" then
        dissector:call(tvb, pinfo, tree)
    else
        DissectorTable.try_heuristics("tcp", tvb, pinfo, tree)
    end
    local offset, missing = pinfo.desegment_offset, pinfo.desegment_len
    is_handing_on, pinfo.desegment_len, pinfo.desegment_offset = false, 0, 0
    return offset, missing
end

-- Gives the stream to its dissector, and keeps what that wants to see again with more behind it.
local function hand_on(conversation, direction, frame, data, is_last, pinfo, tree)
    if not tcpcrypt.prefs.hand_on or conversation.is_join then return end
    if pinfo.visited then
        if frame.given then dissect_plaintext(frame.given, pinfo, tree) end
        return
    end
    if frame.plain and not frame.was_given and not direction.has_given_up then
        frame.was_given = true
        table.insert(direction.rest, data)
        direction.rest_size = direction.rest_size + #data
        direction.has_given_up = direction.rest_size > most_kept
        if direction.rest_size == 0 or direction.rest_size < direction.needed and not is_last then return end
        frame.given = table.concat(direction.rest)
        local offset, missing = dissect_plaintext(frame.given, pinfo, tree)
        local kept = missing > 0 and frame.given:sub(offset + 1) or ""
        direction.rest, direction.rest_size = { kept }, #kept
        direction.needed = #kept + math.max(missing, 1)
        if missing == DESEGMENT_ONE_MORE_SEGMENT then
            direction.needed = #kept + 1
            direction.has_given_up = #kept > most_kept / 64
        end
    end
end

-- How many bytes of signals are between flags and urgent field.
local function signals_length(conversation, tvb, at)
    return conversation.tep == signalling_tep and math.floor(tvb(at, 1):uint() / 2) or 0
end

-- The names of signals, for people.
local function show_signals(plain, count, item)
    if count == 0 then return "" end
    local names = signals.add(plain(1, count), item:add(field.signals, plain(1, count)))
    return " " .. table.concat(names, " ")
end

local function show_plaintext(conversation, direction, frame, signal_count, plain, item, pinfo, tree)
    local text = plain:raw()
    local flags = text:byte(1)
    local flag_item = item:add(field.flags, plain(0, 1))
    flag_item:add(field.urgp, plain(0, 1))
    flag_item:add(field.finp, plain(0, 1))
    local is_last, is_urgent = flags % 2 == 1, flags % 4 >= 2
    local begin = 1 + signal_count + (is_urgent and 2 or 0)
    if flags >= 4 or signal_count > most_signals or plain:len() < begin then
        item:add_proto_expert_info(reserved_flags)
        return
    end
    local names = show_signals(plain, signal_count, item)
    if is_urgent then item:add(field.urgent, plain(1 + signal_count, 2)) end
    local count = plain:len() - begin
    if frame.plain == nil and frame.is_in_order then
        frame.plain, direction.plain = direction.plain, direction.plain + count
    end
    if count > 0 then
        if frame.plain then item:add(field.data_offset, uint64(frame.plain)):set_generated() end
        item:add(field.data, plain(begin))
    end
    item:append_text((": %d bytes of data%s%s"):format(count, is_last and ", the last" or "", names ~= "" and "," .. names or ""))
    pinfo.cols.info:append((" Frame[%d]%s%s"):format(count, is_last and " FINp" or "", names))
    hand_on(conversation, direction, frame, text:sub(begin + 1), is_last, pinfo, tree)
end

-- Frames (RFC 8548 section 4.2)

local function dissect_frame(conversation, direction, tvb, offset, tree, pinfo, root)
    local length = tvb:len()
    local rekeys = tvb(0, 1):uint() % 2 == 1
    local frame = direction.frames[offset]
    if not frame then
        -- Behind a hole nobody knows how many generations have passed, nor how much plaintext.
        frame = { is_in_order = offset == direction.cursor and direction.plain ~= nil }
        if not frame.is_in_order then direction.plain = nil end
        if rekeys then direction.generation = direction.generation + 1 end
        frame.generation = direction.generation
        direction.frames[offset] = frame
        direction.cursor = offset + length
    end
    local item = tree:add(tvb(), "Frame")
    local control = item:add(field.control, tvb(0, 1))
    control:add(field.rekey, tvb(0, 1))
    local signal_count = signals_length(conversation, tvb, 0)
    if conversation.tep == signalling_tep then control:add(field.signals_length, tvb(0, 1)) end
    item:add(field.clen, tvb(1, 2))
    item:add(field.ciphertext, tvb(3, length - 3 - tag_length))
    item:add(field.tag, tvb(length - tag_length)):append_text(" (not verified)")
    item:add(field.offset, uint64(offset)):set_generated()
    item:add(field.generation, frame.generation):set_generated()
    local keys, reason = keys_of_log.find(conversation)
    if not keys then
        item:add(field.undecrypted, reason):set_generated()
        pinfo.cols.info:append((" Frame[encrypted %d]"):format(length - control_length - tag_length))
        return
    end
    item:add(field.session_id, keys.session_id):set_generated()
    local role = direction.role
    if not role then
        local other = conversation.opener_role == "A" and "B" or "A"
        role = direction == conversation.opener and conversation.opener_role or other
    end
    local text = keys_of_log.decrypt(keys, role, frame.generation, offset, tvb:raw(3, length - 3 - tag_length))
    local plain = ByteArray.new(text, true):tvb("Plaintext of a frame")
    show_plaintext(conversation, direction, frame, signal_count, plain, item, pinfo, root)
end

-- Whether a control byte could be one, where nothing else tells that a frame begins. With signals that is too little: the frame must
-- end with the segment, or be followed by another.
local function is_credible(conversation, tvb, at, length)
    local control = tvb(at, 1):uint()
    if control < 2 then return true end
    if conversation.tep and conversation.tep ~= signalling_tep or control > 2 * most_signals + 1 then return false end
    local behind = at + control_length + length
    return behind == tvb:len() or behind < tvb:len() and tvb(behind, 1):uint() <= 2 * most_signals + 1
end

-- How long the message or frame at the beginning of `range` is; more bytes are wanted where that cannot be said, nothing it can be
-- is nil.
local function length_of(conversation, direction, tvb, at, offset)
    local left = tvb:reported_len() - at
    if offset < (direction.frames_from or 0) then
        if left < 8 then return 8 end
        local length = tvb(at + 4, 4):uint()
        return length >= 74 and length <= longest_init and length or nil
    end
    if left < control_length then return control_length end
    local length = tvb(at + 1, 2):uint()
    if length < shortest_ciphertext then return end
    local is_known = offset == direction.cursor or direction.frames[offset]
    return (is_known or is_credible(conversation, tvb, at, length)) and control_length + length or nil
end

local function is_init(tvb)
    if tvb:len() < 4 then return false end
    local magic = tvb(0, 4):uint()
    return magic == init1_magic or magic == init2_magic
end

-- Whether the beginning of a stream goes on with tcpcrypt. An opener that did not see the answer to its ENO option goes on in clear
-- (RFC 8547 section 4.6).
local function expects_encryption(conversation, direction, tvb)
    if conversation.is_resumed then
        direction.cursor = direction.cursor or 0
    elseif is_init(tvb) or tvb:len() < 4 then
        direction.frames_from = direction.frames_from or 1
    else
        return not conversation.tep
    end
    return true
end

-- The packet whose column is ours.
local cleared

function tcpcrypt.dissector(tvb, pinfo, tree)
    local conversation, direction = conversation_of(pinfo)
    if not conversation or conversation.is_plain then return 0 end
    if not direction.isn and is_init(tvb) then direction.isn = value_of(tcp_seq) - 1 end
    local start, length = start_of(direction, tvb, pinfo), tvb:reported_len()
    if start == 0 and not expects_encryption(conversation, direction, tvb) then
        conversation.is_plain = true
        return 0
    end
    pinfo.cols.protocol = "tcpcrypt"
    if cleared ~= pinfo.number then pinfo.cols.info:set("") end
    cleared = pinfo.number
    local subtree = tree:add(tcpcrypt, tvb())
    if tvb:len() < length then
        subtree:add(field.undecrypted, "the capture has only a part of the segment"):set_generated()
        if not pinfo.visited then direction.next = math.max(direction.next or 0, start + length) end
        return length
    end
    local at = 0
    while at < length do
        local needed = length_of(conversation, direction, tvb, at, start + at)
        if not needed then
            if start + at == direction.cursor then subtree:add_proto_expert_info(bad_length) end
            subtree:add(field.unframed, tvb(at))
            at = length
        elseif at + needed > length then
            if pinfo.can_desegment == 0 then return length end
            pinfo.desegment_offset = at
            pinfo.desegment_len = needed <= 8 and DESEGMENT_ONE_MORE_SEGMENT or at + needed - length
            break
        elseif start + at < (direction.frames_from or 0) then
            dissect_init(conversation, direction, tvb(at, needed):tvb(), subtree, pinfo)
            direction.cursor = direction.cursor or needed
            at = at + needed
            if start == 0 then direction.frames_from = needed end
        else
            dissect_frame(conversation, direction, tvb(at, needed):tvb(), start + at, subtree, pinfo, tree)
            at = at + needed
        end
    end
    if not pinfo.visited then direction.next = math.max(direction.next or 0, start + at) end
    return length
end

-- Init1 or Init2 in a capture that lacks the SYNs.
tcpcrypt:register_heuristic("tcp", function(tvb, pinfo, tree)
    if is_handing_on or tvb:len() < 8 or not is_init(tvb) or tvb(4, 4):uint() > longest_init then return false end
    pinfo.conversation = tcpcrypt
    return tcpcrypt.dissector(tvb, pinfo, tree) > 0
end)

function tcpcrypt.init()
    conversations = {}
    keys_of_log.read(tcpcrypt.prefs.keylog_file)
end

function tcpcrypt.prefs_changed() keys_of_log.read(tcpcrypt.prefs.keylog_file) end

local eno = assert(loadfile(folder .. "tcpcrypt_eno.lua"))(note_syn)
DissectorTable.get("tcp.option"):add(69, eno)
ports:add_for_decode_as(tcpcrypt)
