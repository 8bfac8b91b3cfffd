# What every scenario shares: assertions, polling, cleanup, daemons, captures. Sourced by <name>/run; bash + python3 only.
#
# A scenario prints one line per assertion (ok / not ok / skip) and ends with `finish`; its status is 0 when nothing failed.
# TCPCRYPT_SCENARIO_BASELINE=1 runs it without daemons: the traffic is proven, what is about encryption is skipped.
# TCPCRYPT_WORKERS=N gives the daemons so many workers in place of as many as they think fit.
# TCPCRYPT_KEEP=1 leaves namespaces, processes and files as they are at the end; `tcpcrypt-scenario clean` removes them.
# TCPCRYPT_PCAP=FOLDER captures all links of each host into FOLDER/HOST.pcap, TCPCRYPT_PCAP_BYTES (512) of each packet.
# TCPCRYPT_SCENARIO_PREFIX is what namespaces and files begin with, set by `tcpcrypt-scenario run`, so that it finds what is left.
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
tools=$root/Scenarios/tools
binaries=${TCPCRYPT_BIN:-$root/.build/release}
baseline=${TCPCRYPT_SCENARIO_BASELINE:-}
scenario=$(basename "$(dirname "$(readlink -f "$0")")")
export PATH=/usr/sbin:/sbin:$PATH LC_ALL=C
python=/usr/bin/python3
[[ -x $python ]] || python=$(command -v python3)

[[ $EUID -eq 0 ]] || { echo "not ok - $scenario needs root"; exit 1; }

prefix=${TCPCRYPT_SCENARIO_PREFIX:-tc}${TCPCRYPT_SCENARIO_PREFIX:+-}$$
tmp=$(mktemp -d "${TMPDIR:-/tmp}/tcpcrypt-$prefix.$scenario.XXXXXX")
chmod 755 "$tmp"
namespaces=()
jobs_started=()
captures_of_all=()
declare -A daemon_pid=() capture_pid=() wire_pid=()
passed=0 failed=0 skipped=0

source "$root/Scenarios/topology.sh"

# MARK: assertions

ok() { passed=$((passed + 1)); printf 'ok - %s\n' "$*"; }
not_ok() { failed=$((failed + 1)); printf 'not ok - %s\n' "$*"; }
skip() { skipped=$((skipped + 1)); printf 'skip - %s\n' "$*"; }
note() { printf '# %s\n' "$*"; }

# check DESCRIPTION COMMAND...: one assertion. Its output is shown only when it fails.
check() {
    # Not in a subshell: the command may wait for a child of ours.
    local description=$1
    shift
    if "$@" >"$tmp/check.out" 2>&1; then
        ok "$description"
    else
        not_ok "$description"
        tail -n 8 "$tmp/check.out" | cut -c 1-300 | sed 's/^/#   /'
    fi
}

# The same for what only a daemon can show.
check_daemon() { if [[ -n $baseline ]]; then skip "$1 (baseline)"; else check "$@"; fi; }
equal() { [[ $1 == "$2" ]] || { echo "'$1' is not '$2'"; return 1; }; }
at_least() { (($1 >= $2)) || { echo "$1 is less than $2"; return 1; }; }
at_most() { (($1 <= $2)) || { echo "$1 is more than $2"; return 1; }; }
not() { ! "$@"; }
# seen GREP-ARGUMENTS: whether standard input has it. Reads all of it: `grep -q` would end the writer, and pipefail the scenario.
seen() {
    local text
    text=$(cat)
    grep -q "$@" <<<"$text"
}

finish() {
    [[ -n $baseline ]] || daemons_alive
    if ((failed > 0)); then show_logs; fi
    exit $((failed > 0))
}

show_logs() {
    local log
    for log in "$tmp"/daemon-*.log; do
        [[ -s $log ]] || continue
        note "end of $(basename "$log"):"
        tail -n 12 "$log" | cut -c 1-300 | sed 's/^/#   /'
    done
}

# MARK: waiting

# wait_for SECONDS COMMAND...: polls until it succeeds; false when it never did.
wait_for() {
    local limit=$1 end
    shift
    end=$((SECONDS + limit))
    until "$@" >/dev/null 2>&1; do
        ((SECONDS < end)) || return 1
        sleep 0.05
    done
}

pid_gone() { ! kill -0 "$1" 2>/dev/null || [[ $(ps -o stat= -p "$1" 2>/dev/null) == Z* ]]; }

# MARK: processes (ended by id only: those started here, and those inside namespaces made here)

# background NAME HOST COMMAND...: output in $tmp/NAME.out and .err, the process id in $last. (`on` would put a shell
# between us and the command, and the signal would end that shell only.)
background() {
    local name=$1 host=$2
    shift 2
    ip netns exec "$prefix-$host" "$@" >"$tmp/$name.out" 2>"$tmp/$name.err" </dev/null &
    last=$!
    jobs_started+=("$last")
}

# end PID [SIGNAL]: signals one process and waits for it; its status is the result.
end() {
    kill -"${2:-TERM}" "$1" 2>/dev/null || true
    if ! wait_for 10 pid_gone "$1"; then kill -KILL "$1" 2>/dev/null || true; fi
    wait "$1" 2>/dev/null
}

# end_of PID [SECONDS]: waits for a job to end by itself; its status is the result.
end_of() {
    wait_for "${2:-60}" pid_gone "$1" || { echo "still running after ${2:-60} s"; return 1; }
    wait "$1"
}

clean_up() {
    local status=$? name pid
    trap - EXIT INT TERM
    set +e
    # So that their files are whole.
    for pid in "${captures_of_all[@]}"; do kill -INT "$pid"; done 2>/dev/null
    for pid in "${captures_of_all[@]}"; do wait_for 5 pid_gone "$pid"; done
    if [[ -n ${TCPCRYPT_KEEP:-} ]]; then
        note "kept: $tmp, namespaces ${namespaces[*]}; \`tcpcrypt-scenario clean\` removes them"
        exit "$status"
    fi
    exec 2>/dev/null
    for pid in "${daemon_pid[@]}" "${capture_pid[@]}"; do kill -TERM "$pid" 2>/dev/null; done
    for pid in "${daemon_pid[@]}"; do wait_for 5 pid_gone "$pid"; done
    for pid in "${jobs_started[@]}" "${daemon_pid[@]}" "${capture_pid[@]}"; do kill -KILL "$pid" 2>/dev/null; done
    for name in "${namespaces[@]}"; do
        for pid in $(ip netns pids "$name" 2>/dev/null); do kill -KILL "$pid" 2>/dev/null; done
        ip netns delete "$name" 2>/dev/null
    done
    wait 2>/dev/null
    rm -rf "$tmp"
    exit "$status"
}
trap clean_up EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

# on HOST COMMAND...: inside the network namespace of that host or router.
on() {
    local host=$1
    shift
    ip netns exec "$prefix-$host" "$@"
}

# MARK: daemons

# write_config HOST [key=JSON ...]
write_config() {
    local host=$1
    shift
    [[ -z ${TCPCRYPT_WORKERS:-} ]] || set -- "workers=$TCPCRYPT_WORKERS" "$@"
    "$python" - "$tmp/$host.json" "$@" <<'PY'
import json, sys
settings = {}
for word in sys.argv[2:]:
    key, _, value = word.partition("=")
    settings[key] = json.loads(value)
json.dump(settings, open(sys.argv[1], "w"))
PY
}

# daemon_start HOST [key=JSON ...]: returns when its rules are installed.
daemon_start() {
    local host=$1
    shift
    [[ -z $baseline ]] || return 0
    [[ -x $binaries/tcpcryptd ]] || { not_ok "tcpcryptd is built (./Scripts/build)"; exit 1; }
    write_config "$host" "$@"
    : >"$tmp/ready-$host"
    ip netns exec "$prefix-$host" "$binaries/tcpcryptd" --config "$tmp/$host.json" --control "$tmp/$host.sock" \
        >>"$tmp/daemon-$host.log" 2>"$tmp/ready-$host" </dev/null &
    daemon_pid[$host]=$!
    if ! wait_for 20 daemon_ready "$host"; then
        not_ok "daemon of $host gets ready"
        sed 's/^/#   /' "$tmp/ready-$host" | tail -n 20
        exit 1
    fi
}
daemon_ready() { grep -q ready "$tmp/ready-$1" && ctl "$1" status --json; }

daemons_start() { local host; for host in "$@"; do daemon_start "$host"; done; }

# daemon_stop HOST: a clean stop; the exit status is the daemon's.
daemon_stop() {
    local pid=${daemon_pid[$1]:-} status=0
    [[ -n $pid ]] || return 0
    unset "daemon_pid[$1]"
    end "$pid" TERM || status=$?
    cat "$tmp/ready-$1" >>"$tmp/daemon-$1.log"
    return "$status"
}

# daemon_kill HOST: SIGKILL, as a crash.
daemon_kill() {
    local pid=${daemon_pid[$1]:-}
    [[ -n $pid ]] || return 0
    unset "daemon_pid[$1]"
    end "$pid" KILL || true
    cat "$tmp/ready-$1" >>"$tmp/daemon-$1.log"
}

daemons_alive() {
    local host
    for host in "${!daemon_pid[@]}"; do
        cat "$tmp/ready-$host" >>"$tmp/daemon-$host.log"
        if pid_gone "${daemon_pid[$host]}"; then not_ok "daemon of $host is still alive"; fi
    done
}

# ctl HOST WORDS...: tcpcryptctl for the daemon of that host.
ctl() {
    local host=$1
    shift
    "$binaries/tcpcryptctl" --control "$tmp/$host.sock" "$@"
}

# counter HOST NAME: a number of `status --json`; 0 without a daemon.
counter() {
    if [[ -n $baseline ]]; then echo 0; return; fi
    ctl "$1" status --json | json "d['counters']['$2']"
}

# cpu_time HOST...: nanoseconds that the daemons of these hosts have run; 0 without daemons. By their CPU clocks (clock_getcpuclockid):
# a sum over the threads in /proc would lose what those did that have ended.
cpu_time() {
    if [[ -n $baseline ]]; then echo 0; return; fi
    local host pids=()
    for host in "$@"; do pids+=("${daemon_pid[$host]}"); done
    "$python" -c 'import sys, time; print(sum(time.clock_gettime_ns(~int(pid) << 3 | 2) for pid in sys.argv[1:]))' "${pids[@]}"
}

# json EXPRESSION [FILTER]: a Python expression over the document `d` on standard input (tools/query.py).
json() { "$python" "$tools/query.py" "$@"; }

# subflows HOST EXPRESSION: over `s`, the subflows of all connections of that host (each with its connection in s['connection']).
subflows() { ctl "$1" connections --json | json "$2"; }

# MARK: captures

# capture NAME HOST DEVICE [SNAPLEN] [FILTER]: a pcap in $tmp/NAME.pcap, running when this returns.
capture() {
    local name=$1 host=$2 device=$3 snaplen=${4:-0} filter=${5:-tcp}
    ip netns exec "$prefix-$host" tcpdump -i "$device" -U --immediate-mode -n -B 65536 -s "$snaplen" -Z root -w "$tmp/$name.pcap" "$filter" \
        2>"$tmp/$name.tcpdump" &
    capture_pid[$name]=$!
    wait_for 10 grep -q 'listening on' "$tmp/$name.tcpdump" || { not_ok "capture $name starts"; exit 1; }
}

# Ends captures (all, or those named) and complains when the kernel dropped packets for one of them.
captures_stop() {
    local name
    for name in "${@:-${!capture_pid[@]}}"; do
        [[ -n $name && -n ${capture_pid[$name]:-} ]] || continue
        end "${capture_pid[$name]}" INT || true
        if ! grep -q '^0 packets dropped' "$tmp/$name.tcpdump"; then note "capture $name: $(grep dropped "$tmp/$name.tcpdump" || true)"; fi
        unset "capture_pid[$name]"
    done
}

# found_in_captures MARKER NAME...: whether the marker occurs in any of them.
found_in_captures() {
    local marker=$1 name
    shift
    for name in "$@"; do
        if grep -q -a -F -e "$marker" "$tmp/$name.pcap"; then echo "found in $name"; return 0; fi
    done
    return 1
}

# wire EXPRESSION NAME...: over `flows` as tools/wire.py reads them from captures.
wire() {
    local expression=$1 name files=()
    shift
    for name in "$@"; do files+=("$tmp/$name.pcap"); done
    "$python" "$tools/wire.py" "$expression" "${files[@]}"
}

# check_secret MARKER NAME...: the proof and its counter-proof; in a baseline run the marker must be found.
check_secret() {
    local marker=$1
    shift
    if [[ -n $baseline ]]; then
        check "baseline: the marker is seen on the wire ($*)" found_in_captures "$marker" "$@"
    else
        check "the marker is nowhere on the wire ($*)" not found_in_captures "$marker" "$@"
    fi
}

# MARK: rules

# What the host's rules say, without counters and without what an empty table leaves.
rules_of() {
    local tool
    for tool in iptables-save ip6tables-save iptables-legacy-save ip6tables-legacy-save; do
        command -v "$tool" >/dev/null || continue
        echo "$tool"
        on "$1" "$tool" 2>/dev/null | grep -E '^-A|^:[^ ]+ -' || true
    done
    on "$1" nft list tables | grep tcpcrypt || true
    on "$1" sysctl -n net.netfilter.nf_conntrack_tcp_be_liberal
}

# Packets that went to any NFQUEUE rule of this host.
queued_packets() {
    local tool
    for tool in iptables-save ip6tables-save iptables-legacy-save ip6tables-legacy-save; do
        command -v "$tool" >/dev/null || continue
        on "$1" "$tool" -c 2>/dev/null | grep -E -- '-j NFQUEUE' || true
    done | sed -E 's/^\[([0-9]+):.*/\1/' | awk '{ n += $1 } END { print n + 0 }'
}

# MARK: peers driven from here (tools/peer.py): a FIFO of commands in, a log of events out

# peer NAME HOST ARGUMENTS...
peer() {
    local name=$1 host=$2
    shift 2
    mkfifo "$tmp/$name.commands"
    background "$name" "$host" "$python" "$tools/peer.py" "$tmp/$name.commands" "$@"
    # Held open, so that one `tell` is not the end of all commands.
    exec {peer_descriptor}<>"$tmp/$name.commands"
}

# tell NAME COMMAND...
tell() {
    local name=$1
    shift
    printf '%s\n' "$*" >"$tmp/$name.commands"
}

# expect SECONDS NAME PATTERN: an event of that peer.
expect() { wait_for "$1" grep -q -E -- "$3" "$tmp/$2.out" || { echo "$2 said:"; tail -n 5 "$tmp/$2.out" "$tmp/$2.err"; return 1; }; }

listening() { on "$1" ss -Hltn "sport = :$2" | seen . ; }
