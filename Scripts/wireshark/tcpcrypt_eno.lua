-- The TCP option of TCP-ENO (RFC 8547 section 4), with the suboptions of tcpcrypt (RFC 8548 section 3.5). Loaded by tcpcrypt.lua,
-- with a function that is told of each SYN-form option: packet and suboptions, by TEP, with the half and nonce of those that resume.

local note_syn = ...
-- From a folder of plugins Wireshark loads every file by itself, too.
if not note_syn then return end

local eno = Proto("eno", "TCP Encryption Negotiation Option")

local tep_names = {
    [0x20] = "TCPCRYPT_ECDHE_Curve25519_MPTCP (experimental)", [0x21] = "TCPCRYPT_ECDHE_P256", [0x22] = "TCPCRYPT_ECDHE_P521",
    [0x23] = "TCPCRYPT_ECDHE_Curve25519", [0x24] = "TCPCRYPT_ECDHE_Curve448",
}

local option = {
    kind = ProtoField.uint8("eno.kind", "Kind"),
    length = ProtoField.uint8("eno.length", "Length"),
    global = ProtoField.uint8("eno.global", "Global suboption", base.HEX),
    aware = ProtoField.bool("eno.global.a", "Application-aware", 8, nil, 0x02),
    role = ProtoField.bool("eno.global.b", "Passive role", 8, nil, 0x01),
    data_length = ProtoField.uint8("eno.data_length", "Length byte", base.HEX),
    tep = ProtoField.uint8("eno.tep", "TEP", base.HEX, tep_names, 0x7f),
    variable = ProtoField.bool("eno.v", "With data", 8, nil, 0x80),
    half = ProtoField.bytes("eno.resume.half", "Half of the resumption identifier"),
    nonce = ProtoField.bytes("eno.resume.nonce", "Resumption nonce"),
    data = ProtoField.bytes("eno.data", "Data"),
}
eno.fields = option

local bad_length = ProtoExpert.new(
    "eno.bad_length", "The length byte does not fit", expert.group.MALFORMED, expert.severity.ERROR)
eno.experts = { bad_length }

local tcp_syn = Field.new("tcp.flags.syn")
Listener.new("tcp", "tcp.flags.syn")

local function is_syn()
    local all = { tcp_syn() }
    return #all > 0 and all[#all].value
end

local function dissect_suboption(tvb, at, count, tree, suboptions)
    local byte = tvb(at, 1):uint()
    local tep = byte % 128
    local item = tree:add(option.tep, tvb(at, 1))
    item:add(option.variable, tvb(at, 1))
    local name = {}
    if byte < 0x80 then
        suboptions[tep] = name
        return
    end
    item:set_len(1 + count)
    if count >= 9 and count <= 17 and tep >= 0x20 and tep < 0x25 then
        item:add(option.half, tvb(at + 1, 9))
        name.half, name.nonce = tvb(at + 1, 9):bytes():tohex(true), ""
        if count > 9 then
            item:add(option.nonce, tvb(at + 10, count - 9))
            name.nonce = tvb(at + 10, count - 9):bytes():tohex(true)
        end
    elseif count > 0 then
        item:add(option.data, tvb(at + 1, count))
    end
    suboptions[tep] = name
end

function eno.dissector(tvb, pinfo, tree)
    local length = tvb:len()
    local subtree = tree:add(eno, tvb())
    subtree:add(option.kind, tvb(0, 1))
    subtree:add(option.length, tvb(1, 1))
    if not is_syn() then
        subtree:append_text(", non-SYN form")
        return length
    end
    local suboptions, at = {}, 2
    while at < length do
        local byte, count = tvb(at, 1):uint(), length - at - 1
        if byte < 0x20 then
            local item = subtree:add(option.global, tvb(at, 1))
            item:add(option.aware, tvb(at, 1))
            item:add(option.role, tvb(at, 1))
            count = 0
        else
            if byte >= 0x80 and byte < 0xa0 then
                -- The length of the data behind the next byte (RFC 8547 section 4.4).
                count = byte - 0x80 + 1
                subtree:add(option.data_length, tvb(at, 1))
                at = at + 1
                if at + count >= length or tvb(at, 1):uint() < 0xa0 then
                    subtree:add_proto_expert_info(bad_length)
                    return length
                end
            elseif byte < 0x80 then
                count = 0
            end
            dissect_suboption(tvb, at, count, subtree, suboptions)
        end
        at = at + 1 + count
    end
    note_syn(pinfo, suboptions)
    return length
end

return eno
