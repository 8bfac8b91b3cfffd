-- The signals of frames (the article ProtectedSignalling of Tcpcrypt): TCP options, of which those of MPTCP (RFC 8684 section 3) are
-- taken apart. Loaded by tcpcrypt.lua. Wireshark's own dissector of these options needs the TCP header they stand in.

local subtypes = {
    [0] = "MP_CAPABLE", [1] = "MP_JOIN", [2] = "DSS", [3] = "ADD_ADDR", [4] = "REMOVE_ADDR", [5] = "MP_PRIO", [6] = "MP_FAIL",
    [7] = "MP_FASTCLOSE", [8] = "MP_TCPRST",
}
local mptcp = 30

local field = {
    signal = ProtoField.bytes("tcpcrypt.signal", "Signal"),
    signal_kind = ProtoField.uint8("tcpcrypt.signal.kind", "Kind"),
    signal_length = ProtoField.uint8("tcpcrypt.signal.length", "Length"),
    signal_subtype = ProtoField.uint8("tcpcrypt.signal.subtype", "Subtype", base.DEC, subtypes, 0xf0),
    signal_rest = ProtoField.bytes("tcpcrypt.signal.rest", "No option"),
    dss_data_fin = ProtoField.bool("tcpcrypt.dss.data_fin", "DATA_FIN", 8, nil, 0x10),
    dss_ack = ProtoField.uint64("tcpcrypt.dss.ack", "Data acknowledgement"),
    dss_sequence = ProtoField.uint64("tcpcrypt.dss.dsn", "Data sequence number"),
    dss_subflow = ProtoField.uint32("tcpcrypt.dss.ssn", "Subflow sequence number"),
    dss_length = ProtoField.uint16("tcpcrypt.dss.length", "Data-level length"),
    dss_checksum = ProtoField.uint16("tcpcrypt.dss.checksum", "Checksum", base.HEX),
    capable_sender = ProtoField.uint64("tcpcrypt.mp_capable.sender_key", "Sender's key", base.HEX),
    capable_receiver = ProtoField.uint64("tcpcrypt.mp_capable.receiver_key", "Receiver's key", base.HEX),
    capable_length = ProtoField.uint16("tcpcrypt.mp_capable.length", "Data-level length"),
    capable_checksum = ProtoField.uint16("tcpcrypt.mp_capable.checksum", "Checksum", base.HEX),
    add_echo = ProtoField.bool("tcpcrypt.add_addr.echo", "Echo", 8, nil, 0x01),
    add_id = ProtoField.uint8("tcpcrypt.add_addr.id", "Address ID"),
    add_ipv4 = ProtoField.ipv4("tcpcrypt.add_addr.ipv4", "Address"),
    add_ipv6 = ProtoField.ipv6("tcpcrypt.add_addr.ipv6", "Address"),
    add_port = ProtoField.uint16("tcpcrypt.add_addr.port", "Port"),
    add_hmac = ProtoField.bytes("tcpcrypt.add_addr.hmac", "HMAC"),
    remove_id = ProtoField.uint8("tcpcrypt.remove_addr.id", "Address ID"),
    prio_backup = ProtoField.bool("tcpcrypt.mp_prio.backup", "Backup", 8, nil, 0x01),
    fail_sequence = ProtoField.uint64("tcpcrypt.mp_fail.dsn", "Data sequence number"),
    fastclose_key = ProtoField.uint64("tcpcrypt.mp_fastclose.key", "Receiver's key", base.HEX),
    reset_transient = ProtoField.bool("tcpcrypt.mp_tcprst.transient", "Transient", 8, nil, 0x01),
    reset_reason = ProtoField.uint8("tcpcrypt.mp_tcprst.reason", "Reason"),
}

-- Adds fields of given lengths, one behind the other from byte `at` of the option on, as far as the option goes.
local function add_fields(range, item, at, ...)
    local list = { ... }
    for index = 1, #list, 2 do
        local count = list[index + 1]
        if at + count > range:len() then return at end
        item:add(list[index], range(at, count))
        at = at + count
    end
    return at
end

local function is_set(flags, bit) return math.floor(flags / bit) % 2 == 1 end

local dissect = {}

dissect[0] = function(range, item)
    add_fields(range, item, 4, field.capable_sender, 8, field.capable_receiver, 8, field.capable_length, 2, field.capable_checksum, 2)
end

dissect[2] = function(range, item)
    if range:len() < 4 then return end
    local flags, at = range(3, 1):uint(), 4
    item:add(field.dss_data_fin, range(3, 1))
    if is_set(flags, 0x01) then at = add_fields(range, item, at, field.dss_ack, is_set(flags, 0x02) and 8 or 4) end
    if is_set(flags, 0x04) then
        local width = is_set(flags, 0x08) and 8 or 4
        add_fields(range, item, at, field.dss_sequence, width, field.dss_subflow, 4, field.dss_length, 2, field.dss_checksum, 2)
    end
end

dissect[3] = function(range, item)
    local length, is_echo = range:len(), is_set(range(2, 1):uint(), 0x01)
    item:add(field.add_echo, range(2, 1))
    local rest = length - 4 - (is_echo and 0 or 8)
    local is_ipv6 = rest >= 16
    local at = add_fields(
        range, item, 3, field.add_id, 1, is_ipv6 and field.add_ipv6 or field.add_ipv4, is_ipv6 and 16 or 4)
    if rest == 6 or rest == 18 then at = add_fields(range, item, at, field.add_port, 2) end
    if not is_echo then add_fields(range, item, at, field.add_hmac, 8) end
end

dissect[4] = function(range, item)
    for at = 3, range:len() - 1 do item:add(field.remove_id, range(at, 1)) end
end

dissect[5] = function(range, item) item:add(field.prio_backup, range(2, 1)) end

dissect[6] = function(range, item) add_fields(range, item, 4, field.fail_sequence, 8) end

dissect[7] = function(range, item) add_fields(range, item, 4, field.fastclose_key, 8) end

dissect[8] = function(range, item)
    item:add(field.reset_transient, range(2, 1))
    add_fields(range, item, 3, field.reset_reason, 1)
end

-- Adds the options in `range` to a tree; returns their names.
local function add(range, tree)
    local names, at = {}, 0
    while at < range:len() do
        local kind = range(at, 1):uint()
        local length = at + 1 < range:len() and range(at + 1, 1):uint() or 0
        if length < 2 or at + length > range:len() then
            tree:add(field.signal_rest, range(at))
            break
        end
        local option = range(at, length)
        local item, name = tree:add(field.signal, option), "kind " .. kind
        item:add(field.signal_kind, option(0, 1))
        item:add(field.signal_length, option(1, 1))
        if kind == mptcp and length > 2 then
            local subtype = math.floor(option(2, 1):uint() / 16)
            name = subtypes[subtype] or "MPTCP subtype " .. subtype
            item:add(field.signal_subtype, option(2, 1))
            if dissect[subtype] then dissect[subtype](option, item) end
        end
        item:set_text(name)
        table.insert(names, name)
        at = at + length
    end
    return names
end

return { fields = field, add = add }
