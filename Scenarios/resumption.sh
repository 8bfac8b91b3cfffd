# What the scenarios about resumption share: connections one after the other, where their keys came from, and what they cost. Sourced.

ids=()
declare -A processes_of=()

# connection NAME FROM TO ADDRESS PORT ORIGIN [FLAG...]: opens one, checks its data and at both ends its origin and session ID, and
# ends it. ORIGIN is fresh or resumed; `KEEP=1 connection ...` leaves it open until `done_with NAME`.
connection() {
    local name=$1 from=$2 to=$3 address=$4 port=$5 origin=$6 id='' there='' mptcp=''
    shift 6
    if [[ " $* " == *" --mptcp "* ]]; then mptcp=--mptcp; fi
    # An IPv6 socket that serves IPv4 too.
    peer "$name-server" "$to" listen "$port" --v6 $mptcp
    processes_of[$name]=$last
    expect 5 "$name-server" listening || true
    peer "$name-client" "$from" connect "$address" "$port" "$@"
    processes_of[$name]+=" $last"
    check "$name: connects" expect 5 "$name-client" connected
    tell "$name-client" send 20000
    tell "$name-server" want 20000
    check "$name: data arrives" expect 5 "$name-server" "received 20000"
    tell "$name-server" send 10000
    tell "$name-client" want 10000
    check "$name: data arrives, the other way" expect 5 "$name-client" "received 10000"
    if [[ -n $baseline ]]; then
        skip "$name: is $origin (baseline)"
    else
        id=$(subflows "$from" "[x['session_id'] for x in enc if x['remote'].endswith(':$port') and x['origin'] == '$origin']")
        there=$(subflows "$to" "[x['session_id'] for x in enc if x['local'].endswith(':$port') and x['origin'] == '$origin']")
        check "$name: is $origin at both ends, with one session ID" equal "$id" "${there:-none}"
        ids+=("$id")
    fi
    [[ -n ${KEEP:-} ]] || done_with "$name"
}
done_with() {
    local process
    tell "$1-client" close
    expect 5 "$1-server" 'eof|recv-error' || true
    tell "$1-server" close
    expect 5 "$1-server" closed || true
    for process in ${processes_of[$1]}; do end "$process" || true; done
}

# operations HOST...: public-key operations so far, one number each.
operations() {
    local host
    for host in "$@"; do counter "$host" public_key_operations; done | paste -s -d ' '
}

# peers HOST: addresses of other hosts that its sessions know, each once.
peers() { ctl "$1" sessions --json | json "sorted({peer for session in d for peer in session['peers']})"; }
