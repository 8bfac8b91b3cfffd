# What the middlebox scenarios share: connections through whatever the routers do, and what became of them. Sourced.

# The kinds of connection: what bulk.py is told for each.
declare -A flags_of=([TCP4]='' [TCP6]='--v6' [MPTCP4]='--mptcp' [MPTCP6]='--mptcp --v6')
all_kinds='TCP4 TCP6 MPTCP4 MPTCP6'
megabytes=${megabytes:-3}
next_port=9100
declare -A port_of=()
encrypted_ports=() plain_ports=()

address_of() { if [[ $1 == *6 ]]; then echo "${2:-$b6}"; else echo "${2:-$b4}"; fi; }

# begin_transfers KINDS [FLAG...]: one connection of each kind from a to b, all at the same time. Sets port_of and client_of.
# Where `controlled` is set, to ports that are excluded from encryption (see `control_ports`): plain TCP in the same run.
declare -A client_of=() server_of=()
controlled='' next_control=9000
control_ports='[9001,9002,9003,9004,9005,9006,9007,9008,9009,9010,9011,9012,9013,9014,9015,9016]'
begin_transfers() {
    local kinds=$1 kind
    shift
    for kind in $kinds; do
        if [[ -n $controlled ]]; then
            next_control=$((next_control + 1))
            port_of[$kind]=$next_control
        else
            next_port=$((next_port + 1))
            port_of[$kind]=$next_port
        fi
        background "server-${port_of[$kind]}" b "$python" "$tools/bulk.py" listen "${port_of[$kind]}" $((megabytes << 20)) ${flags_of[$kind]} "$@"
        server_of[$kind]=$last
    done
    for kind in $kinds; do wait_for 10 grep -q listening "$tmp/server-${port_of[$kind]}.out" || true; done
    for kind in $kinds; do
        background "client-${port_of[$kind]}" a "$python" "$tools/bulk.py" connect "$(address_of "$kind")" "${port_of[$kind]}" \
            $((megabytes << 20)) ${flags_of[$kind]} "$@"
        client_of[$kind]=$last
    done
}

# whole KIND: both ends end, and each has received what the other sent.
whole() {
    local sent received there_sent there_received port=${port_of[$1]}
    end_of "${client_of[$1]}" ${PATIENCE:-40} || { tail -n 1 "$tmp/client-$port.err"; return 1; }
    end_of "${server_of[$1]}" 20 || { tail -n 1 "$tmp/server-$port.err"; return 1; }
    read -r _ sent _ received _ < <(tail -n 1 "$tmp/client-$port.out") || true
    read -r _ there_sent _ there_received _ < <(tail -n 1 "$tmp/server-$port.out") || true
    equal "${sent:-nothing} ${received:-nothing}" "${there_received:-none} ${there_sent:-none}"
}

# What became of the connections so far: "encrypted A B plain A B", summed at a and at b.
outcomes() {
    [[ -z $baseline ]] || { echo 'encrypted 0 0 plain 0 0'; return; }
    local host encrypted=() plain=()
    for host in a b; do
        read -r one two < <(ctl "$host" status --json | json "' '.join(str(n) for n in (d['counters']['fresh_handshakes'] + d['counters']['resumptions'], d['counters']['fallbacks']))")
        encrypted+=("$one")
        plain+=("$two")
    done
    echo "encrypted ${encrypted[*]} plain ${plain[*]}"
}
# difference BEFORE AFTER: of two such lines.
difference() { paste -d' ' <(tr ' ' '\n' <<<"$1") <(tr ' ' '\n' <<<"$2") | awk '$1 ~ /[a-z]/ { printf "%s ", $1; next } { printf "%d ", $2 - $1 }' | sed 's/ $//'; }

# through NAME WANTED KINDS [FLAG...]: connections of these kinds work, with equal checksums, and all become what is WANTED.
through() {
    local name=$1 wanted=$2 kinds=$3 kind before count
    shift 3
    before=$(outcomes)
    begin_transfers "$kinds" "$@"
    for kind in $kinds; do
        check "$name: $kind: both ends finish, checksums equal" whole "$kind"
        if [[ $wanted == encrypted ]]; then encrypted_ports+=("${port_of[$kind]}"); else plain_ports+=("${port_of[$kind]}"); fi
    done
    count=$(wc -w <<<"$kinds")
    case $wanted in
        encrypted) wanted="encrypted $count $count plain 0 0" ;;
        # Where the SYN already lost ENO, both ends know; else the listener learns it from the third ACK.
        plain) wanted="encrypted 0 0 plain $count $count" ;;
        # To a port that is not queued at all, or not worth counting.
        control) return ;;
    esac
    check_daemon "$name: $wanted, at a and b" became "$before" "$wanted"
}
became() { equal "$(difference "$1" "$(outcomes)")" "$2"; }

# talk NAME KIND: two peers, connected, named by $client and $server.
talks=0
talk() {
    talks=$((talks + 1))
    client=client$talks server=server$talks
    peer "$server" b listen $((9300 + talks)) ${flags_of[$2]}
    wait_for 5 listening b $((9300 + talks)) || true
    peer "$client" a connect "$(address_of "$2")" $((9300 + talks)) ${flags_of[$2]}
    check "$1: connected" expect 10 "$client" '^connected'
    encrypted_ports+=($((9300 + talks)))
}

# obstacle ROUTER OPTION...: rules of both iptables, in a chain of their own that `clear_way` empties.
clear_way() {
    local router=$1 tool table
    for tool in iptables ip6tables; do
        for table in raw mangle filter nat; do
            on "$router" "$tool" -t "$table" -F
        done
    done
}
rule() {
    local router=$1 tool
    shift
    for tool in iptables ip6tables; do on "$router" "$tool" "$@"; done
}

# matched ROUTER PATTERN: packets that rules like this have matched.
matched() {
    local tool
    for tool in iptables-save ip6tables-save; do on "$1" "$tool" -c | grep -E -e "$2" || true; done |
        sed -E 's/^\[([0-9]+):.*/\1/' | awk '{ n += $1 } END { print n + 0 }'
}

# check_wire NAME...: at the end: the captures hold no plaintext of what was encrypted, and do hold that of what was not.
check_wire() {
    captures_stop "$@"
    if [[ -z $baseline ]]; then
        check "no plaintext of any encrypted connection on the wire (${#encrypted_ports[@]} of them)" \
            wire "not $(marked "${encrypted_ports[*]}")" "$@"
    fi
    check "the captures would show it: plaintext of plain connections is there" \
        wire "bool($(marked "${baseline:+${encrypted_ports[*]}} ${plain_ports[*]}"))" "$@"
}
marked() { echo "[1 for p in packets if b'PLAINTEXT-MARKER' in p.data and {p.sport, p.dport} & {$(tr -s ' ' ',' <<<"${1# }")}]"; }
