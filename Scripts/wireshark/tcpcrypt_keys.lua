-- The key log of tcpcryptd, and what follows from its lines (the article KeyLogging of Tcpcrypt). Loaded by tcpcrypt.lua.

local has_openssl, cipher = pcall(require, "openssl.cipher")
local has_kdf, kdf = pcall(require, "openssl.kdf")
-- Lua 5.2 has no operator for it, later ones no library.
local bxor = bit and bit.bxor or load("return function(a, b) return a ~ b end")()

local aeads = {
    [0x01] = { name = "aes-128-gcm", key = 16 }, [0x02] = { name = "aes-256-gcm", key = 32 },
    [0x10] = { name = "chacha20-poly1305", key = 32 },
}

local function binary(hex) return (hex:gsub("%x%x", function(digits) return string.char(tonumber(digits, 16)) end)) end

local keylog

local function read(path)
    keylog = { fresh = {}, resumed = {}, path = path }
    if path == "" then
        keylog.problem = "no key log is named (preference tcpcrypt.keylog_file)"
        return
    end
    local file, reason = io.open(path, "rb")
    if not file then
        keylog.problem = "no key log: " .. reason
        return
    end
    for line in file:lines() do
        local kind, first, second, aead, master, session_id =
            line:match("^TCPCRYPT_(%u+) (%x+) ([%x-]+) (%x%x%x%x) (%x+) (%x+)%s*$")
        local algorithm = aeads[tonumber(aead or "0", 16)]
        if algorithm and #master == 64 then
            local keys = { aead = algorithm, masters = { [0] = binary(master) }, session_id = session_id, derived = {} }
            if kind == "FRESH" then
                keylog.fresh[first .. second] = keys
            elseif kind == "RESUMED" then
                keys.session_nonce = second:gsub("-", "")
                keylog.resumed[first] = keylog.resumed[first] or {}
                table.insert(keylog.resumed[first], keys)
            end
        end
    end
    keylog.size = file:seek("end")
    file:close()
end

-- A file may grow while packets are captured.
local function has_grown()
    local file = keylog.size and io.open(keylog.path, "rb")
    if not file then return false end
    local size = file:seek("end")
    file:close()
    return size ~= keylog.size
end

-- The keys of the session that both halves name. Those of a join have both random numbers behind the nonces.
local function resumed(id, session_nonce)
    for _, keys in ipairs(keylog.resumed[id] or {}) do
        local rest = #keys.session_nonce - #session_nonce
        if keys.session_nonce:sub(1, #session_nonce) == session_nonce and (rest == 0 or rest == 16) then return keys end
    end
end

local function is_named(conversation)
    if conversation.is_resumed then return conversation.opener_name and conversation.acceptor_name end
    return conversation.nonce_a and conversation.nonce_b
end

-- RFC 8548 section 3.5: who was A in the original session sends the first half, whoever opens.
local function look_up(conversation)
    if not conversation.is_resumed then return keylog.fresh[conversation.nonce_a .. conversation.nonce_b] end
    local opener, acceptor = conversation.opener_name, conversation.acceptor_name
    local keys, role = resumed(opener.half .. acceptor.half, opener.nonce .. acceptor.nonce), "A"
    if not keys then
        keys, role = resumed(acceptor.half .. opener.half, acceptor.nonce .. opener.nonce), "B"
    end
    conversation.opener_role = role
    return keys
end

-- What reads `conversation`, or nil and why there is nothing.
local function find(conversation)
    if conversation.keys then return conversation.keys end
    if not (has_openssl and has_kdf) then return nil, "Lua has no OpenSSL (Debian's package lua-luaossl)" end
    if keylog.problem then return nil, keylog.problem end
    if not is_named(conversation) then return nil, "no keys: the handshake is not in the capture" end
    local keys = look_up(conversation)
    if not keys and has_grown() then
        read(keylog.path)
        keys = look_up(conversation)
    end
    conversation.keys = keys
    return keys, "no keys: the key log does not have this connection"
end

-- HKDF-Expand, the CPRF of RFC 8548 section 3.1.
local function cprf(key, info, length)
    return kdf.derive({ type = "HKDF", md = "sha256", hkdf_mode = "expand_only", key = key, info = info, outlen = length })
end

-- RFC 8548 section 3.3: mk[generation], then the traffic key of whoever has `role`, cut into key and nonce randomizer.
local function traffic_key(keys, role, generation)
    local name = role .. generation
    local derived = keys.derived[name]
    if derived then return derived end
    for number = #keys.masters + 1, generation do
        keys.masters[number] = cprf(keys.masters[number - 1], "\3", 32)
    end
    local both = cprf(keys.masters[generation], role == "A" and "\4" or "\5", keys.aead.key + 12)
    derived = { key = both:sub(1, keys.aead.key), randomizer = both:sub(keys.aead.key + 1) }
    keys.derived[name] = derived
    return derived
end

-- RFC 8548 sections 3.6 and 4.2.3.
local function nonce(randomizer, offset)
    local bytes = { randomizer:byte(1, 12) }
    for index = 12, 5, -1 do
        bytes[index] = bxor(bytes[index], offset % 256)
        offset = math.floor(offset / 256)
    end
    return string.char(table.unpack(bytes))
end

-- The plaintext of a frame at `offset`, its ciphertext given without the tag.
local function decrypt(keys, role, generation, offset, ciphertext)
    local key = traffic_key(keys, role, generation)
    return cipher.new(keys.aead.name):decrypt(key.key, nonce(key.randomizer, offset)):update(ciphertext)
end

return { read = read, find = find, decrypt = decrypt }
