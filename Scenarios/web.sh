# nginx on host b (or another), TCP or MPTCP, serving $tmp/www on port 8080 (and 8443, 443 for exclusions). Sourced.

# web_start HOST [mptcp|tcp] [PORTS...]
web_start() {
    local host=$1 kind=${2:-mptcp} port listen='' wrapper=()
    shift $(($# < 2 ? $# : 2))
    for port in "${@:-8080}"; do listen+="listen $port; listen [::]:$port ipv6only=on; "; done
    [[ $kind == tcp ]] || wrapper=(mptcpize run)
    mkdir -p "$tmp/nginx-$host" "$tmp/www"
    cat >"$tmp/nginx-$host.conf" <<CONF
daemon off; master_process on; worker_processes 1; pid $tmp/nginx-$host/pid; user root;
error_log $tmp/nginx-$host/error.log;
events { worker_connections 256; }
http {
    access_log off; sendfile on;
    client_body_temp_path $tmp/nginx-$host; proxy_temp_path $tmp/nginx-$host; fastcgi_temp_path $tmp/nginx-$host;
    uwsgi_temp_path $tmp/nginx-$host; scgi_temp_path $tmp/nginx-$host;
    server { $listen root $tmp/www; location /linger { limit_rate 250; } }
}
CONF
    background "nginx-$host" "$host" "${wrapper[@]}" nginx -e "$tmp/nginx-$host/error.log" -c "$tmp/nginx-$host.conf"
    web_pid=$last
    wait_for 10 listening "$host" "${1:-8080}" || { not_ok "nginx starts"; cat "$tmp/nginx-$host/error.log" "$tmp/nginx-$host.err"; exit 1; }
}

web_stop() { end "$web_pid" QUIT || true; }
