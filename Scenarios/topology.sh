# Networks for scenarios. Every namespace carries the scenario's process id in its name and is deleted by clean_up.
#
# two_paths: host a reaches b over two routers, IPv4 and IPv6; path i is chosen by a's address.
#
#                 +- 10.71.1.0/24 - r1 - 10.72.1.0/24 -+
#     a  p1 .1 ---+                                    +--- p1 .1  b
#        p2 .1 ---+                                    +--- p2 .1
#                 +- 10.71.2.0/24 - r2 - 10.72.2.0/24 -+
#
#     IPv6 alike: fd71:i::1 at a, fd72:i::1 at b. Routers are .254 / ::fe, their devices `toa` and `tob`.
#
# one_path:   a  p1 10.71.1.1 --- r1 --- 10.72.1.1 p1  b           (the upper half of the picture)
# direct:     a  p1 10.71.1.1 --------- 10.71.1.2 p1  b            (one wire, no router)
# wired=1 before one of these three puts the impairment element (tcpcrypt-wire) in each path, next to a:
#
#             a  p1 --- left w1 right --- r1 --- b,  direct: a  p1 --- left w1 right --- p1  b
#
# chain MTU:  a  p1 --- r1 --- (MTU) --- r2 --- p1  b              (a narrow link in the middle: path MTU discovery)

a4=10.71.1.1 b4=10.72.1.1 a6=fd71:1::1 b6=fd72:1::1
a4_second=10.71.2.1 b4_second=10.72.2.1 a6_second=fd71:2::1 b6_second=fd72:2::1

add_host() {
    local name=$prefix-$1
    ip netns add "$name"
    namespaces+=("$name")
    ip -n "$name" link set lo up
    # Loose on purpose: with two paths the way back is not always the way there.
    ip netns exec "$name" sysctl -q -w net.ipv4.conf.all.rp_filter=0 net.ipv4.conf.default.rp_filter=0 \
        net.ipv6.conf.all.accept_dad=0 net.ipv6.conf.default.accept_dad=0 net.ipv6.conf.default.router_solicitations=0
    # The same on every machine; with bbr and MPTCP the numbers without any daemon vary between 0.2 and 6 Gbit/s (measured).
    ip netns exec "$name" sysctl -q -w net.ipv4.tcp_congestion_control=cubic 2>/dev/null ||
        ip netns exec "$name" sysctl -q -w net.ipv4.tcp_congestion_control=reno
    [[ -z ${TCPCRYPT_PCAP:-} ]] || capture_all "$1"
}

# capture_all HOST: all its devices, those that come later too.
capture_all() {
    mkdir -p "$TCPCRYPT_PCAP"
    on "$1" tcpdump -i any -U --immediate-mode -n -B 65536 -s "${TCPCRYPT_PCAP_BYTES:-512}" -Z root -w "$TCPCRYPT_PCAP/$1.pcap" 2>"$tmp/all-$1.tcpdump" &
    captures_of_all+=("$!")
    wait_for 10 grep -q 'listening on' "$tmp/all-$1.tcpdump" || { not_ok "capture of $1 starts"; exit 1; }
}

add_router() {
    add_host "$1"
    on "$1" sysctl -q -w net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1
}

# link HOST DEVICE ADDRESS4 ADDRESS6 HOST DEVICE ADDRESS4 ADDRESS6 [WIRE]: with a wire's number, over that wire.
link() {
    if [[ -n ${9:-} ]]; then wired_link "$@"; return; fi
    ip link add "$2" netns "$prefix-$1" type veth peer name "$6" netns "$prefix-$5"
    address "$1" "$2" "$3" "$4"
    address "$5" "$6" "$7" "$8"
}

wired_link() {
    local wire=w$9 device
    ip netns add "$prefix-$wire"
    namespaces+=("$prefix-$wire")
    # The wire itself is no host: it must say nothing of its own.
    on "$wire" sysctl -q -w net.ipv6.conf.all.disable_ipv6=1 net.ipv6.conf.default.disable_ipv6=1
    ip link add "$2" netns "$prefix-$1" type veth peer name left netns "$prefix-$wire"
    ip link add "$6" netns "$prefix-$5" type veth peer name right netns "$prefix-$wire"
    for device in left right; do ip -n "$prefix-$wire" link set "$device" mtu 65535 up; done
    # What travels are segments with finished checksums, as on a real wire. The stacks still make super-packets.
    on "$1" ethtool -K "$2" tso off gro off tx off >"$tmp/ethtool" 2>&1 && on "$5" ethtool -K "$6" tso off gro off tx off >"$tmp/ethtool" 2>&1 ||
        { not_ok "offloads are off: $(<"$tmp/ethtool")"; exit 1; }
    address "$1" "$2" "$3" "$4"
    address "$5" "$6" "$7" "$8"
    wire_start "$9"
}

# wire_start NUMBER [SPEC...]: the element in namespace w<NUMBER>, with those devices in both directions.
# In later calls `wire_set NUMBER both|to-right|to-left SPEC...`; right is away from a. `tcpcrypt-wire --help` lists devices.
wire_start() {
    local name=wire$1
    if [[ -n ${wire_pid[$1]:-} ]]; then wire_set "$1" both "${@:2}"; return; fi
    [[ -x $binaries/tcpcrypt-wire ]] || { not_ok "tcpcrypt-wire is built (./Scripts/build)"; exit 1; }
    mkfifo "$tmp/$name.commands"
    ip netns exec "$prefix-w$1" "$binaries/tcpcrypt-wire" left right --seed "${wire_seed:-1}" --both "${*:2}" \
        <>"$tmp/$name.commands" >"$tmp/$name.out" 2>"$tmp/$name.err" &
    wire_pid[$1]=$!
    jobs_started+=("$!")
    wait_for 10 grep -q ready "$tmp/$name.out" || { not_ok "wire $1 starts: $(<"$tmp/$name.err")"; exit 1; }
}

# wire_set NUMBER [to-right|to-left|both] SPEC...: other devices from now on (both directions unless said); they are in place when it returns.
wire_set() {
    local number=$1 direction=both
    shift
    case ${1:-} in to-right | to-left | both) direction=$1; shift ;; esac
    [[ $(wire_ask "$number" "$direction $*") == set ]] || { not_ok "wire $number takes $direction $*: $(tail -n 1 "$tmp/wire$number.out")"; exit 1; }
}

# wire_count NUMBER EXPRESSION: over `d`, what the element counted: d['to_right']['loss'], packets, bytes, delivered and so on.
# A device that was never there counts 0.
wire_count() { wire_ask "$1" counters | json "$2"; }

# One command and its one line of answer.
wire_ask() {
    local file=$tmp/wire$1.out lines
    lines=$(wc -l <"$file")
    printf '%s\n' "$2" >"$tmp/wire$1.commands"
    wait_for 10 wire_answered "$file" "$lines" || return 1
    tail -n 1 "$file"
}
wire_answered() { (($(wc -l <"$1") > $2)); }

address() {
    ip -n "$prefix-$1" address add "$3" dev "$2"
    ip -n "$prefix-$1" -6 address add "$4" dev "$2" nodad
    ip -n "$prefix-$1" link set "$2" up
}

# path NUMBER: router r<n> between p<n> of both hosts; addresses of a's path n are routed over it from both sides.
path() {
    local n=$1
    add_router "r$n"
    link a "p$n" "10.71.$n.1/24" "fd71:$n::1/64" "r$n" toa "10.71.$n.254/24" "fd71:$n::fe/64" ${wired:+"$n"}
    link "r$n" tob "10.72.$n.254/24" "fd72:$n::fe/64" b "p$n" "10.72.$n.1/24" "fd72:$n::1/64"
    # a: to b's address on this path, and, from its own address on this path, to anything of b.
    ip -n "$prefix-a" route add "10.72.$n.0/24" via "10.71.$n.254"
    ip -n "$prefix-a" -6 route add "fd72:$n::/64" via "fd71:$n::fe"
    ip -n "$prefix-a" rule add from "10.71.$n.0/24" lookup "10$n"
    ip -n "$prefix-a" -6 rule add from "fd71:$n::/64" lookup "10$n"
    ip -n "$prefix-a" route add 10.72.0.0/16 via "10.71.$n.254" table "10$n"
    ip -n "$prefix-a" -6 route add fd72::/16 via "fd71:$n::fe" table "10$n"
    # b and the router: back to a's address on this path, and to any address of b behind the link.
    ip -n "$prefix-b" route add "10.71.$n.0/24" via "10.72.$n.254"
    ip -n "$prefix-b" -6 route add "fd71:$n::/64" via "fd72:$n::fe"
    ip -n "$prefix-r$n" route add 10.72.0.0/16 via "10.72.$n.1"
    ip -n "$prefix-r$n" -6 route add fd72::/16 via "fd72:$n::1"
}

mptcp_limits() {
    local host
    for host in a b; do on "$host" ip mptcp limits set subflows 4 add_addr_accepted 4; done
}

one_path() {
    add_host a
    add_host b
    path 1
    mptcp_limits
}

# two_paths [no-endpoint]: with a's second address as an MPTCP endpoint, so that its kernel joins over path 2.
two_paths() {
    one_path
    path 2
    if [[ ${1:-} != no-endpoint ]]; then
        on a ip mptcp endpoint add "$a4_second" dev p2 subflow
        on a ip mptcp endpoint add "$a6_second" dev p2 subflow
    fi
}

direct() {
    add_host a
    add_host b
    link a p1 10.71.1.1/24 fd71:1::1/64 b p1 10.71.1.2/24 fd71:1::2/64 ${wired:+1}
    b4=10.71.1.2 b6=fd71:1::2
    mptcp_limits
}

chain() {
    local mtu=$1
    add_host a
    add_host b
    add_router r1
    add_router r2
    link a p1 10.71.1.1/24 fd71:1::1/64 r1 toa 10.71.1.254/24 fd71:1::fe/64
    link r1 tob 10.73.1.1/24 fd73:1::1/64 r2 toa 10.73.1.2/24 fd73:1::2/64
    link r2 tob 10.72.1.254/24 fd72:1::fe/64 b p1 10.72.1.1/24 fd72:1::1/64
    ip -n "$prefix-r1" link set tob mtu "$mtu"
    ip -n "$prefix-r2" link set toa mtu "$mtu"
    ip -n "$prefix-a" route add default via 10.71.1.254
    ip -n "$prefix-a" -6 route add default via fd71:1::fe
    ip -n "$prefix-b" route add default via 10.72.1.254
    ip -n "$prefix-b" -6 route add default via fd72:1::fe
    ip -n "$prefix-r1" route add 10.72.1.0/24 via 10.73.1.2
    ip -n "$prefix-r1" -6 route add fd72:1::/64 via fd73:1::2
    ip -n "$prefix-r2" route add 10.71.1.0/24 via 10.73.1.1
    ip -n "$prefix-r2" -6 route add fd71:1::/64 via fd73:1::1
    mptcp_limits
}

# shape RATE [PATH...]: both directions of the paths, so that one path alone is not enough.
shape() {
    local rate=$1 n
    shift
    for n in "${@:-1 2}"; do
        for n in $n; do
            on "r$n" tc qdisc replace dev toa root tbf rate "$rate" burst 256k latency 50ms
            on "r$n" tc qdisc replace dev tob root tbf rate "$rate" burst 256k latency 50ms
        done
    done
}

# narrow ROUTER MTU: its routes both ways, as of a tunnel behind it; 0 for none. What is longer it refuses, with an ICMP error.
narrow() {
    local router=$1 mtu=$2 n=${1#r}
    on "$router" ip route change "10.71.$n.0/24" dev toa mtu "$mtu"
    on "$router" ip route change "10.72.$n.0/24" dev tob mtu "$mtu"
    on "$router" ip -6 route change "fd71:$n::/64" dev toa metric 256 mtu "$mtu"
    on "$router" ip -6 route change "fd72:$n::/64" dev tob metric 256 mtu "$mtu"
}

# forget_paths: what the kernels of a and b have learned of path MTUs. (`ip -6 route flush cache` leaves some; they go with their route.)
forget_paths() {
    local host route
    for host in a b; do
        on "$host" ip route flush cache
        on "$host" ip -6 route show table all | grep ' via ' | while read -r -a route; do
            on "$host" ip -6 route del "${route[@]}"
            on "$host" ip -6 route add "${route[@]}"
        done
    done
}

# count_of HOST NAME: a counter of that host's kernel, by the name nstat has for it.
count_of() { on "$1" nstat -asz "$2" | awk -v name="$2" '$1 == name { print $2 }'; }

# strip ROUTER DEVICE OPTION MATCH...: a middlebox that blanks a TCP option in what it forwards out of DEVICE.
strip() {
    local router=$1 device=$2 option=$3
    shift 3
    on "$router" iptables -t mangle -A FORWARD -o "$device" -p tcp "$@" -j TCPOPTSTRIP --strip-options "$option"
    on "$router" ip6tables -t mangle -A FORWARD -o "$device" -p tcp "$@" -j TCPOPTSTRIP --strip-options "$option"
}

# attacker: a third host x behind r1, which shares no secret with anybody. Its kernel stays silent where its raw socket speaks.
attacker() {
    add_host x
    link x p1 10.74.1.1/24 fd74:1::1/64 r1 tox 10.74.1.254/24 fd74:1::fe/64
    ip -n "$prefix-x" route add default via 10.74.1.254
    ip -n "$prefix-x" -6 route add default via fd74:1::fe
    ip -n "$prefix-a" route add 10.74.1.0/24 via 10.71.1.254
    ip -n "$prefix-a" -6 route add fd74:1::/64 via fd71:1::fe
    ip -n "$prefix-b" route add 10.74.1.0/24 via 10.72.1.254
    ip -n "$prefix-b" -6 route add fd74:1::/64 via fd72:1::fe
    on x iptables -A OUTPUT -p tcp -m mark ! --mark 1 -j DROP
    on x ip6tables -A OUTPUT -p tcp -m mark ! --mark 1 -j DROP
}
