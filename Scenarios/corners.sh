# Cases of tools/corner_*.py between a and b over r1, for scenarios that source this after lib.sh.

# corners_start [key=JSON...]: daemons that leave the ports of ordinary TCP alone, and a capture of the others.
corners_start() {
    local host
    for host in a b; do daemon_start "$host" excluded_ports="[$(seq -s , 7000 7149)]" "$@"; done
    on r1 sysctl -q -w net.ipv4.icmp_ratelimit=0 net.ipv6.icmp.ratelimit=0 net.ipv4.icmp_msgs_per_sec=100000
    capture encrypted r1 tob 200 "tcp portrange 8000-8149"
}

# corners_stop: what was encrypted is not readable, and the daemons stop.
corners_stop() {
    local host
    captures_stop
    check_secret PLAINTEXT-MARKER encrypted
    for host in a b; do check "$host stops cleanly" daemon_stop "$host"; done
}

# group TITLE NAME [CASE...]: each case is one assertion.
group() {
    local title=$1 line
    shift
    "$python" "$tools/corners.py" "$prefix" "$a4" "$b4" "$a6" "$b6" "$@" >"$tmp/$1.out" 2>"$tmp/$1.err" || true
    while IFS= read -r line; do
        case $line in
            'ok - '*) ok "$title: ${line#ok - }" ;;
            'not ok - '*) not_ok "$title: ${line#not ok - }" ;;
            *) printf '%s\n' "$line" ;;
        esac
    done <"$tmp/$1.out"
    check "$title: all cases ran" not grep . "$tmp/$1.err"
}
