# What the scenarios attack-* share: the same attacks on plain MPTCP and on encrypted connections (the article "Attacks"). Sourced after lib.sh.
#
# First no daemon runs and each attack has to succeed: one that does not would prove nothing. Then both hosts run one.
# With TCPCRYPT_SCENARIO_BASELINE=1 the first half is all.

asked_baseline=$baseline
rounds=(plain)
[[ -n $asked_baseline ]] || rounds+=(encrypted)
victims=0

# begin_round ROUND [key=JSON ...]: the settings are both daemons'.
begin_round() {
    round=$1 baseline=1 port=9300
    if [[ $round != plain ]]; then
        baseline=''
        if [[ $round == encrypted ]]; then port=9400; else port=9500; fi
        daemon_start a "${@:2}"
        daemon_start b "${@:2}"
    fi
    # Connections of the first half may linger; a flood is of no interest.
    local filter="tcp portrange $port-$((port + 99)) and not net 10.96.0.0/12"
    capture path1 r1 tob 300 "$filter"
    [[ ! " ${namespaces[*]} " == *" $prefix-r2 "* ]] || capture path2 r2 tob 300 "$filter"
}
# In the first half somebody who listens reads everything, in the second nothing.
end_round() {
    local captures=("${!capture_pid[@]}")
    captures_stop
    check_secret PLAINTEXT-MARKER "${captures[@]}"
}

# attack TITLE PLAIN ENCRYPTED [RFC8548] COMMAND...: the command, a function, leaves what came of it in $effect: PLAIN (a regular expression, all of them)
# without daemons, ENCRYPTED with them, RFC8548 with daemons that speak no more than that, where the scenario has such a round.
# With `open` before it, ENCRYPTED is a gap that is known: stated, so that the scenario fails when it is closed.
attack() {
    local known=''
    if [[ $1 == open ]]; then known=' (known gap)'; shift; fi
    local title=$1 plain=$2 encrypted=$3 alone=$3
    shift 3
    if ! declare -F "$1" >/dev/null; then alone=$1; shift; fi
    effect='no effect'
    "$@"
    case $round in
        plain) check "plain MPTCP: $title: $effect" matches "$effect" "$plain" ;;
        rfc8548)
            if [[ $alone != "$encrypted" ]]; then known=' (known gap)'; fi
            check "RFC 8548 alone: $title: $effect$known" matches "$effect" "$alone" ;;
        *) check "encrypted: $title: $effect$known" matches "$effect" "$encrypted" ;;
    esac
}
matches() { [[ $1 =~ ^($2)$ ]] || { echo "'$1' is not '$2'"; return 1; }; }

# victim [FLAGS]: a new MPTCP connection from a to b, 30000 bytes up and 20000 down; $name, $port, $up and $down are about it.
victim() {
    newcomer "$@"
    up=30000 down=20000
    tell "$name-c" send 30000
    tell "$name-s" want 30000
    expect 5 "$name-s" 'received 30000' || not_ok "$name: data arrives"
    tell "$name-s" send 20000
    tell "$name-c" want 20000
    expect 5 "$name-c" 'received 20000' || not_ok "$name: data arrives, downwards"
}
# newcomer [FLAGS]: the same, without data.
newcomer() {
    victims=$((victims + 1)) port=$((port + 1))
    name=$round$victims
    peer "$name-s" b listen "$port" --mptcp
    expect 5 "$name-s" listening || true
    peer "$name-c" a connect "$b4" "$port" --mptcp "$@"
    expect 5 "$name-c" connected || not_ok "$name connects"
}
over() { tell "$name-c" close; tell "$name-s" close; }

# fate [SECONDS]: what the application at b sees when the client goes on.
fate() {
    tell "$name-c" send 40000
    up=$((up + 40000))
    seen_by "$name-s" "$up" "$@"
}

# seen_by PEER TOTAL [SECONDS]: what that application has seen by the time that so many bytes should be there.
seen_by() {
    local said
    tell "$1" want "$2"
    wait_for "${3:-5}" grep -q -E "^(corrupt|eof|recv-error|received $2)" "$tmp/$1.out" || true
    sleep 0.1
    said=$(<"$tmp/$1.out")
    if grep -q ^corrupt <<<"$said"; then echo corrupted
    elif grep -q ^eof <<<"$said"; then echo ended
    elif grep -q ^recv-error <<<"$said"; then echo reset
    elif grep -q "^received $2" <<<"$said"; then echo unharmed
    else echo stalled; fi
}

# What x and r1 do.
hijack() { on x "$python" "$tools/hijack.py" "$@" 2>"$tmp/hijack.err" || sed 's/^/# /' "$tmp/hijack.err"; }
# forge KIND [MORE]: into this victim's connection
forge() { on r1 "$python" "$tools/forge.py" "$1" "$tmp/path1.pcap,$tmp/path2.pcap" "$port" "$up" "$down" "${@:2}" >"$tmp/forged.out" 2>&1 || sed 's/^/# /' "$tmp/forged.out"; }
learn() { on r1 "$python" "$tools/forge.py" keys "$tmp/path1.pcap" "$port" "$up"; }
# Joins that a's kernel has tried.
tried() { count_of a MPTcpExtMPJoinSynTx; }
join_syns() { count_of b MPTcpExtMPJoinSynRx; }
# joined HOST ADDRESS: whether that host has an established subflow from that address of its own
joined() { on "$1" ss -tHn state established src "$2" dport = "$port" | seen .; }

# In place of the element that wires carry otherwise: tools/middle.py, to which `middle NUMBER WORDS...` says what to do.
wire_start() {
    mkfifo "$tmp/middle$1.commands"
    ip netns exec "$prefix-w$1" "$python" "$tools/middle.py" "$tmp/middle$1.commands" \
        <>"$tmp/middle$1.commands" >"$tmp/middle$1.out" 2>"$tmp/middle$1.err" &
    wire_pid[$1]=$!
    jobs_started+=("$!")
    wait_for 10 grep -q ready "$tmp/middle$1.out" || { not_ok "middle $1 starts: $(<"$tmp/middle$1.err")"; exit 1; }
}
middle() {
    local number=$1
    shift
    : >"$tmp/middle$number.out"
    printf '%s\n' "$*" 1<>"$tmp/middle$number.commands"
    wait_for 5 grep -q "^doing $1" "$tmp/middle$number.out" || not_ok "middle $number: $*: $(tail -n 2 "$tmp/middle$number.err")"
}
