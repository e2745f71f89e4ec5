#!/usr/bin/env bash
# The systemd part of docs/deploy.md, tried on a host of its own: a small Debian that systemd boots, with its own Postgres and the
# stand-ins of the providers beside it. `./dev units` runs it, as root on Debian. $1: the program built without stand-ins; $2: one
# with them; $3: a folder for the host, which is used again.
#
# Never: changes the machine that it runs on, or types anything about the units but what docs/deploy.md says.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
program=$(realpath "$1") sandbox=$(realpath "$2") root=$3/host
mkdir -p "$3"
work=$(mktemp -d) nspawn='' stand_ins=''

say() { printf '%s\n' "$*" >&2; }
die() { say "$*"; exit 1; }
ended() {
    [ -z "$nspawn" ] || kill "$nspawn" 2>/dev/null || true
    [ -z "$stand_ins" ] || kill "$stand_ins" 2>/dev/null || true
    wait 2>/dev/null || true
    rm -rf "$work"
}
trap ended EXIT

until_true() { # seconds, what, command...
    local seconds=$1 what=$2
    shift 2
    for _ in $(seq "$((seconds * 5))"); do ! "$@" >/dev/null 2>&1 || return 0; sleep 0.2; done
    inside journalctl --no-pager -n 40 -u safelight-api -u safelight-worker >&2 || true
    die "Not within $seconds seconds: $what."
}

if [ ! -e "$root/usr/lib/systemd/systemd" ]; then
    say "Making a small Debian ..."
    # As this machine, so that the program's C library is its own.
    suite=$(. /etc/os-release; echo "$VERSION_CODENAME")
    debootstrap --variant=minbase --include=ca-certificates,curl,dbus,jq,postgresql,systemd,systemd-sysv "$suite" "$root" \
        http://deb.debian.org/debian >"$work/log" 2>&1 || { tail -n 5 "$work/log" >&2; die "debootstrap could not make it."; }
fi
rm -rf "$root/etc/safelight" "$root"/etc/systemd/system/safelight-* "$root"/etc/systemd/system/multi-user.target.wants/safelight-*
mkdir -p "$root/src/target/release"
cp -r models ops "$root/src/"
install -m 755 "$program" "$root/src/target/release/safelight"

systemd-nspawn --quiet --directory "$root" --boot --register=no --keep-unit --console=pipe </dev/null >"$work/boot" 2>&1 &
nspawn=$!
init() { pgrep -P "$nspawn" -x systemd; }
for _ in $(seq 100); do [ -z "$(init)" ] || break; sleep 0.1; done
[ -n "$(init)" ] || { tail -n 5 "$work/boot" >&2; die "The host did not boot."; }
inside() { nsenter --target "$(init)" --mount --uts --ipc --pid -- env -i PATH=/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin "$@"; }
until_true 60 'systemd is up' inside sh -c 'systemctl is-system-running | grep -E "running|degraded"'
until_true 60 'Postgres is up' inside su postgres -c 'psql -c "select 1"'
port=$(inside su postgres -c 'psql -Atc "show port"')
inside su postgres -c 'psql -q -v ON_ERROR_STOP=1' <<'SQL'
set client_min_messages = warning;
drop database if exists safelight;
SQL
inside su postgres -c "psql -Atc \"select 'drop owned by ' || rolname || '; drop role ' || rolname || ';' from pg_roles where rolname ~ '^safelight'\" | psql -q"

"$sandbox" sandbox >"$work/stand-ins" 2>"$work/stand-ins.log" &
stand_ins=$!
until_true 30 'the stand-ins are up' grep -q SENTRY_DSN "$work/stand-ins"

# The page's own lines: what stands before the settings, and after them.
awk '/^## systemd/ { on = 1; next } /^## / { on = 0 } on && /^    / { print substr($0, 5) }' docs/deploy.md >"$work/steps"
grep -q "<<'SETTINGS'" "$work/steps" || die "docs/deploy.md has no settings under systemd any more."
# As the page says them, but for what only this host knows.
sed -n "/<<'SETTINGS'/,/^SETTINGS\$/p" "$work/steps" | sed '1d;$d' >"$work/page"
{
    cat "$work/stand-ins"
    echo "DATABASE_URL=postgres://safelight:secret@127.0.0.1:$port/safelight"
    echo "SAFELIGHT_MASTER_KEY=$(head -c 32 /dev/urandom | od -An -tx1 | tr -d ' \n')"
    echo "CRON_SECRET=$(head -c 20 /dev/urandom | od -An -tx1 | tr -d ' \n')"
    echo "METRICS_SECRET=$(head -c 20 /dev/urandom | od -An -tx1 | tr -d ' \n')"
} >"$work/ours"
{
    cat "$work/ours"
    while IFS= read -r line; do
        # The stand-ins' Stripe is in test mode, and the page says to leave that line out then.
        case $line in STRIPE_LIVEMODE=*) continue ;; esac
        grep -q "^${line%%=*}=" "$work/ours" || printf '%s\n' "$line"
    done <"$work/page"
} >"$work/settings"
! grep -n '=\.\.\.$' "$work/settings" >&2 || die "These settings of the page have no value here."
{
    echo "set -euo pipefail; cd /src"
    sed "/<<'SETTINGS'/q" "$work/steps"
    cat "$work/settings"
    sed "1,/<<'SETTINGS'/d" "$work/steps" | sed -n '/^SETTINGS$/,$p'
} >"$root/src/steps.sh"

say "Typing what docs/deploy.md says ..."
inside su postgres -c 'psql -q -v ON_ERROR_STOP=1' <<'SQL'
create role safelight login createrole password 'secret';
create database safelight owner safelight;
SQL
inside bash /src/steps.sh >"$work/typed" 2>&1 || { tail -n 20 "$work/typed" >&2; die "A step of docs/deploy.md failed."; }

until_true 30 'the intake is ready' inside curl -fsS http://127.0.0.1:8080/ready
for unit in safelight-api safelight-worker; do inside systemctl is-active --quiet "$unit" || die "$unit is not active."; done
owner() { inside bash -c 'set -a; . /etc/safelight/environment; set +a; exec safelight "$@"' - "$@"; }
token=$(owner token create --tenant koselfie --scopes enqueue,read units)
asks() { # path, body
    inside curl -fsS "http://127.0.0.1:8080$1" -H "authorization: Bearer $token" ${2:+-H 'content-type: application/json' -d "$2"}
}
# A person's export needs the intake, the worker, the keys and the store.
exports_somebody() {
    local subject export
    subject=$(asks /v1/subjects "{\"email\": \"ann+$RANDOM@example.org\"}" | inside jq -r .subject)
    export=$(asks "/v1/subjects/$subject/exports" '{}' | inside jq -r .export)
    made() { asks "/v1/subjects/$subject/exports/$export" | inside jq -e '.state == "ready"'; }
    until_true 30 "an export is ready ($1)" made
}
exports_somebody 'after the start'

pid() { inside systemctl show --property MainPID --value safelight-worker; }
first=$(pid)
inside grep -q '^CapEff:	0000000000000000$' "/proc/$first/status" || die "The worker has capabilities."
[ "$(inside stat -c %u "/proc/$first")" != 0 ] || die "The worker is root."
inside nsenter --target "$first" --mount -- test -e /usr/local/share/safelight/models || die "The models are not there."
! inside nsenter --target "$first" --mount -- touch /usr/local/share/safelight/models/x 2>/dev/null || die "The models can be written."
inside systemctl kill --signal KILL safelight-worker
exports_somebody 'after kill -9'
[ "$(pid)" != "$first" ] || die "The worker that was killed is still there."

for unit in safelight-worker safelight-api; do
    inside systemctl stop "$unit"
    [ "$(inside systemctl show --property Result --value "$unit")" = success ] || die "$unit did not end by itself."
done
say "Both units start as the page says, work, come back after kill -9, hold no rights, and end in time."
