# Shared by the scripts of this folder: where things are, how to speak, how to find Swift. Sourced, never run.

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
logs=$root/.build-logs

if [[ -t 1 && -z ${NO_COLOR:-} ]]; then
    bold=$'\e[1m' green=$'\e[32m' red=$'\e[31m' dim=$'\e[2m' plain=$'\e[0m'
else
    bold='' green='' red='' dim='' plain=''
fi

say() { printf '%s\n' "$*"; }
step() { printf '%s==>%s %s\n' "$bold" "$plain" "$*"; }
die() {
    printf '%serror:%s %s\n' "$red" "$plain" "$*" >&2
    exit 1
}

need_root() { [[ $EUID -eq 0 ]] || die "this needs root (network namespaces, NFQUEUE): sudo $0"; }

# sudo drops PATH, so look where toolchains live too, in the home of the one who called sudo first of all.
find_swift() {
    command -v swift >/dev/null && return
    local home directory
    home=$(getent passwd "${SUDO_USER:-root}" | cut -d: -f6)
    for directory in /opt/swift/usr/bin "$home"/.local/share/swiftly/bin "$home"/swift/usr/bin /usr/share/swift/usr/bin \
        /usr/local/swift/usr/bin /usr/libexec/swift/bin; do
        if [[ -x $directory/swift ]]; then
            export PATH=$directory:$PATH
            return
        fi
    done
    die "Swift is not installed, or not where it is looked for: put it on PATH (sudo --preserve-env=PATH) and call again"
}

# Builds belong to the owner of the tree, also under sudo: otherwise the next ordinary `swift build` finds files of root.
as_owner() {
    local owner
    owner=$(stat -c %U "$root")
    if [[ $EUID -eq 0 && $owner != root && $owner != UNKNOWN ]]; then
        runuser -u "$owner" -- env HOME="$(getent passwd "$owner" | cut -d: -f6)" PATH="$PATH" "$@"
    else
        "$@"
    fi
}

# progress TITLE LOG COMMAND...: quiet, but never silent for long; the log's end is shown when it fails.
progress() {
    local title=$1 log=$2 began=$SECONDS told=$SECONDS status=0 pid every=20 start='    ' end=$'\n'
    # A terminal has one line that is written over, a log a line now and then.
    if [[ -t 1 ]]; then every=1 start=$'\r\e[K    ' end=''; fi
    shift 2
    mkdir -p "$(dirname "$log")"
    step "$title"
    "$@" >"$log" 2>&1 &
    pid=$!
    while kill -0 "$pid" 2>/dev/null; do
        sleep 0.2
        if ((SECONDS - told >= every)); then
            told=$SECONDS
            printf '%s%s%s%s' "$start" "$dim" \
                "$((SECONDS - began)) s: $(tail -c 300 "$log" | tr '\r' '\n' | grep -a -v '^$' | tail -n 1 | cut -c 1-90)" "$plain$end"
        fi
    done
    [[ -n $end ]] || printf '\r\e[K'
    wait "$pid" || status=$?
    if ((status != 0)); then
        grep -E 'error|✘' "$log" | head -n 40 >&2 || true
        tail -n 30 "$log" >&2
        printf '%serror:%s %s failed (status %d); all of it: %s\n' "$red" "$plain" "$title" "$status" "$log" >&2
        return "$status"
    fi
    say "    done in $((SECONDS - began)) s"
}
