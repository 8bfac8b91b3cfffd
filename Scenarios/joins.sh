# What the scenarios of joins share: one MPTCP connection between a and b, and what both kernels, both daemons and `ip mptcp monitor`
# say of its subflows. Sourced after lib.sh and the topology; `joins_begin` starts monitors and daemons.

bytes_told=0 port=8999
shopt -s extglob

# more_addresses HOST NET COUNT: each of its two devices comes to have 10.NET.<path>.1 to .COUNT, IPv6 alike.
more_addresses() {
    local n last
    for n in 1 2; do
        for ((last = 2; last <= $3; last++)); do address "$1" "p$n" "10.$2.$n.$last/24" "fd$2:$n::$last/64"; done
    done
}

# joins_begin [key=JSON ...]: settings of both daemons
joins_begin() {
    local host
    for host in a b; do
        background "monitor-$host" "$host" ip mptcp monitor
        daemon_start "$host" "$@"
    done
}

# connection [--v6] [ADDRESS]: from a to b; its peers are `client` and `server`. One after the other.
connection() {
    local family=()
    port=$((port + 1)) bytes_told=0
    rm -f "$tmp"/{client,server}.{commands,out}
    if [[ ${1:-} == --v6 ]]; then family=(--v6) && shift; fi
    peer server b listen "$port" --mptcp "${family[@]}"
    expect 5 server listening || true
    peer client a connect "${1:-$b4}" "$port" --mptcp "${family[@]}"
    check "the connection is made" expect 5 client connected
    goes_on "at first"
    if [[ -z $baseline ]]; then
        token_a=$(subflows a "{x['connection']['local_token'] for x in enc}")
        token_b=$(subflows b "{x['connection']['local_token'] for x in enc}")
    fi
}

# goes_on WHEN [BYTES]: so much more arrives each way, and is what was sent.
goes_on() {
    local count=${2:-200000}
    bytes_told=$((bytes_told + count))
    tell client send "$count"
    tell server send "$count"
    tell server want "$bytes_told"
    tell client want "$bytes_told"
    check "$1: data arrives at b" expect 15 server "received $bytes_told "
    check "$1: data arrives at a" expect 15 client "received $bytes_told "
}

# floods_begin: both peers send as much as they can. floods_end WHEN: no more, and all of it arrives.
floods_begin() {
    tell client flood
    tell server flood
}
floods_end() {
    local pair sent
    for pair in client:server server:client; do
        tell "${pair%:*}" stop
        check "$1: the flood of ${pair%:*} ends" expect 20 "${pair%:*}" stopped
        sent=$(awk '/^stopped/ { n = $2 } END { print n }' "$tmp/${pair%:*}.out")
        tell "${pair#*:}" want "$sent"
        check "$1: all of it arrives" expect 20 "${pair#*:}" "received $sent "
    done
}

# carried PATH: bytes that it has seen. mark_paths, then carries PATH MEGABYTES: whether it has seen so much since.
carried() { on "r$1" cat /sys/class/net/tob/statistics/{rx,tx}_bytes | awk '{ n += $1 } END { print n }'; }
declare -A carried_before=()
mark_paths() { carried_before=([1]=$(carried 1) [2]=$(carried 2)); }
carries() { at_least "$(($(carried "$1") - carried_before[$1]))" "$(($2 * 1000000))"; }

# Established subflows as the kernel has them, and as the daemon has those of MPTCP that are encrypted: `LOCAL REMOTE` each.
kernel_subflows() { on "$1" ss -tHn state established | awk '{ print $3, $4 }' | sed -E 's/%[^]: ]*//g; s/\[::ffff:([0-9.]+)\]/\1/g' | sort; }
daemon_subflows() { subflows "$1" "[x['local'] + ' ' + x['remote'] for x in enc if x['connection']['kind'] == 'mptcp']" | sed -E 's/%[^]: ]*//g' | sort; }
kernels_have() {
    local host
    for host in a b; do equal "$(kernel_subflows "$host" | grep -c .)" "$1" || return 1; done
}
daemon_agrees() { equal "$(daemon_subflows "$1")" "$(kernel_subflows "$1")" && subflows "$1" "len(s) == len(enc)"; }

# have COUNT WHEN [JOINS]: both kernels come to have so many subflows, of which both daemons know each, encrypted; in all, so
# many joins were made since the daemons began (by default the present ones).
have() {
    local host joins=${3:-$(($1 - 1))}
    check "$2: $1 subflows" wait_for 10 kernels_have "$1"
    if [[ -n $baseline ]]; then
        skip "$2: all encrypted, tokens, session IDs (baseline)"
        return
    fi
    for host in a b; do
        check "$2: each subflow of $host's kernel is encrypted, and there is no other" wait_for 5 daemon_agrees "$host"
        check "$2: $host counted $joins joins, refused none, and nothing fell back" \
            equal "$(counter "$host" joins) $(counter "$host" joins_refused) $(counter "$host" fallbacks)" "$joins 0 0"
    done
    check "$2: session IDs agree at both ends and differ between subflows" ids_agree "$1"
    check "$2: they are one connection, by the tokens that ss shows" tokens_agree
    check "$2: and by those of ip mptcp monitor, at a" wait_for 5 monitor_agrees a "$token_a"
    check "$2: and by those of ip mptcp monitor, at b" wait_for 5 monitor_agrees b "$token_b"
}
ids_agree() {
    equal "$(subflows a "sorted((x['local'], x['remote'], x['session_id']) for x in enc)")" \
        "$(subflows b "sorted((x['remote'], x['local'], x['session_id']) for x in enc)")" &&
        equal "$(subflows a "len({x['session_id'] for x in enc})")" "$1"
}
tokens_agree() {
    equal "$(subflows a "{(x['connection']['local_token'], x['connection']['remote_token']) for x in enc}")" "('$token_a', '$token_b')" &&
        equal "$(subflows b "{(x['connection']['local_token'], x['connection']['remote_token']) for x in enc}")" "('$token_b', '$token_a')" &&
        ss_knows a "$token_a" && ss_knows b "$token_b"
}
ss_knows() { on "$1" ss -MiHn | seen -E "token:0*${2##+(0)}\b" || { echo "no token $2 at $1"; on "$1" ss -MiHn; return 1; }; }

# What `ip mptcp monitor` told of established subflows of this token that were not closed since: `LOCAL REMOTE` each.
monitored_subflows() {
    awk -v token="${2##+(0)}" '
        function end(version, address, port) { return (version == 6 ? "[" address "]" : address) ":" port }
        {
            split("", value)
            for (i = 1; i <= NF; i++) if (split($i, part, "=") == 2) value[part[1]] = part[2]
            sub(/^0+/, "", value["token"])
            if (value["token"] != token || !("sport" in value)) next
            version = ("saddr6" in value) ? 6 : 4
            key = end(version, value["saddr" version], value["sport"]) " " end(version, value["daddr" version], value["dport"])
            if (/CLOSED/) delete live[key]
            if (/ESTABLISHED/) live[key] = 1
        }
        END { for (key in live) print key }' "$tmp/monitor-$1.out" | sed -E 's/\[::ffff:([0-9.]+)\]/\1/g' | sort
}
monitor_agrees() { equal "$(monitored_subflows "$1" "$2")" "$(kernel_subflows "$1")"; }

# uses HOST ADDRESS:[PORT]: whether an established subflow of that host's kernel has that end.
uses() { kernel_subflows "$1" | seen -F -e "$2"; }

# joins_end: both ends close in order, and nobody knows of the connection any more.
joins_end() {
    check "nothing was corrupted" not grep -q corrupt "$tmp/server.out" "$tmp/client.out"
    tell client shutdown
    tell server shutdown
    check "a's end is told" expect 10 server eof
    check "b's end is told" expect 10 client eof
    tell client close
    tell server close
    check "its subflows end" wait_for 10 kernels_have 0
    check_daemon "no frame failed to authenticate, nothing was aborted" \
        equal "$(for host in a b; do counter "$host" auth_failures; counter "$host" aborts; done | tr '\n' ' ')" '0 0 0 0 '
}
