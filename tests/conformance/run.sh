#!/usr/bin/env bash
# Strangers on both sides: the providers' own clients drive our stand-ins, and our clients ask servers that nobody here wrote.
# `./dev conformance` builds everything and calls this with the program's path.
#
# Needs node with npm, python3 with venv, cargo. A stranger that cannot be had ends it with 75, and with a word which; one that
# does not find what it expects ends it with 1.
set -euo pipefail
program=$1
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
mkdir -p "${CARGO_TARGET_DIR:-$here/../../target}/conformance"
work=$(cd "${CARGO_TARGET_DIR:-$here/../../target}/conformance" && pwd)
say() { printf '%s\n' "$*" >&2; }
die() { say "$*"; exit 1; }
not_here() { say "$*"; exit 75; }

oldest_node=20
s3s_fs=0.14.1 # the newest that Rust 1.94 builds

for tool in node npm python3 cargo; do command -v "$tool" >/dev/null || not_here "The strangers need $tool: install it."; done
mkdir -p "$work/js"
cp "$here"/*.mjs "$here/package.json" "$work/js/"

# What came once stays, until another version is wanted.
fresh() { [ -e "$work/$1" ] && [ "$(cat "$work/$1")" = "$2" ]; }

node=node
if [ "$(node --version | sed 's/^v\([0-9]*\).*/\1/')" -lt $oldest_node ]; then
    node=$work/node/node_modules/.bin/node
    if [ ! -x "$node" ]; then
        say "A newer node, for the strangers alone ..."
        npm install --prefix "$work/node" --no-audit --no-fund --silent "node@$oldest_node" || not_here "npm could not bring a newer node: see above."
    fi
fi
wanted=$(cat "$here/package.json")
if ! fresh js.have "$wanted"; then
    say "Strangers from npm ..."
    (cd "$work/js" && npm install --no-audit --no-fund --silent) || not_here "npm could not bring its strangers: see above."
    printf '%s' "$wanted" >"$work/js.have"
fi
wanted=$(cat "$here/requirements.txt")
if ! fresh py.have "$wanted"; then
    say "Strangers from PyPI ..."
    [ -x "$work/py/bin/python" ] || python3 -m venv "$work/py" || not_here "python3 makes no venv: see above."
    "$work/py/bin/pip" install --quiet --disable-pip-version-check -r "$here/requirements.txt" ||
        not_here "pip could not bring its strangers: see above."
    printf '%s' "$wanted" >"$work/py.have"
fi
if [ ! -x "$work/s3s/$s3s_fs/bin/s3s-fs" ]; then
    say "A stranger from crates.io: some minutes, once ..."
    CARGO_TARGET_DIR=$work/s3s/target cargo install --quiet --debug --locked --root "$work/s3s/$s3s_fs" --version $s3s_fs --features binary s3s-fs ||
        not_here "cargo could not bring s3s-fs: see above."
    rm -rf "$work/s3s/target"
fi

servers=()
trap 'kill "${servers[@]}" 2>/dev/null || true' EXIT

# A stand-in or a stranger, which says nothing here and ends with this script.
starts() {
    local name=$1
    shift
    "$@" >"$work/$name.out" 2>"$work/$name.log" &
    servers+=($!)
}
listens() {
    local try
    for try in $(seq 300); do
        ! (exec 3<>"/dev/tcp/127.0.0.1/$2") 2>/dev/null || return 0
        sleep 0.1
    done
    die "$1 does not listen after $try looks: see $work/$1.log."
}
free_port() { "$work/py/bin/python" -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'; }

failed=''
meet() {
    say "$1"
    shift
    timeout 120 "$@" || failed="$failed $(basename "${!#}")"
}

# Their clients, our stand-ins.
export SANDBOX=$work/sandbox.out
rm -f "$SANDBOX"
starts sandbox "$program" sandbox --json
for _ in $(seq 200); do
    ! "$node" -e 'JSON.parse(require("fs").readFileSync(process.env.SANDBOX))' 2>/dev/null || break
    kill -0 "${servers[0]}" 2>/dev/null || die "The stand-ins ended: see $work/sandbox.log."
    sleep 0.1
done
meet "@fal-ai/client against Fal's stand-in" "$node" "$work/js/fal.mjs"
meet "stripe against Stripe's stand-in" "$node" "$work/js/stripe.mjs"
meet "resend against Resend's stand-in" "$node" "$work/js/resend.mjs"
meet "@supabase/auth-js and storage-js against Supabase's stand-in" "$node" "$work/js/supabase.mjs"
meet "fal-client (Python) against Fal's stand-in" "$work/py/bin/python" "$here/fal.py"
meet "stripe (Python) against Stripe's stand-in" "$work/py/bin/python" "$here/stripe_client.py"
meet "storage3 (Python) against Supabase Storage's stand-in" "$work/py/bin/python" "$here/storage.py"

# Our clients, their servers.
moto=$(free_port) && starts moto "$work/py/bin/moto_server" -H 127.0.0.1 -p "$moto"
rm -rf "$work/s3s/root" && mkdir -p "$work/s3s/root/people"
s3s=$(free_port) && starts s3s-fs "$work/s3s/$s3s_fs/bin/s3s-fs" --access-key safelight \
    --secret-key 'a-secret-of-forty-characters-for-s3s-fs!' --host 127.0.0.1 --port "$s3s" "$work/s3s/root"
stripe=$(free_port) && starts localstripe "$work/py/bin/python" -c \
    'import sys; from aiohttp import web; from localstripe.server import app; web.run_app(app, host="127.0.0.1", port=int(sys.argv[1]))' "$stripe"
kent=$(free_port) && starts kent "$work/py/bin/kent-server" run --host 127.0.0.1 --port "$kent"
listens moto "$moto" && listens s3s-fs "$s3s" && listens localstripe "$stripe" && listens kent "$kent"
"$node" -e 'fetch(process.argv[1], { method: "PUT" }).then(answer => process.exit(answer.ok ? 0 : 1))' "http://127.0.0.1:$moto/people" ||
    die "moto makes no bucket: see $work/moto.log."
export SAFELIGHT_MOTO=http://127.0.0.1:$moto SAFELIGHT_S3S=http://127.0.0.1:$s3s
export SAFELIGHT_LOCALSTRIPE=http://127.0.0.1:$stripe SAFELIGHT_KENT=http://127.0.0.1:$kent
say "Our clients against moto, s3s-fs, localstripe and kent"
(cd "$here/../.." && SQLX_OFFLINE=true cargo test --quiet --workspace --test engine -- strangers:: --ignored) || failed="$failed strangers.rs"

schemathesis=$work/schemathesis/bin/schemathesis
if [ ! -x "$schemathesis" ]; then
    python3 -m venv "$work/schemathesis"
    "$work/schemathesis/bin/pip" install --quiet --disable-pip-version-check schemathesis==4.32.5 || not_here "pip could not bring schemathesis: see above."
fi
meet "schemathesis against the intake" "$program" bench --log error run -- bash "$here/schema.sh" "$program" "$schemathesis"

[ -z "$failed" ] || die "Not as a stranger expects it:$failed"
say "Every stranger found what it expects."
