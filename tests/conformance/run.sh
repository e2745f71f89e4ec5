#!/usr/bin/env bash
# Strangers on both sides: the providers' own clients drive our stand-ins, and our clients ask servers that nobody here wrote.
# `./dev conformance` builds everything and calls this with the program's path: run.sh PROGRAM [few]. With `few`, as after the whole
# test suite, those are left out that take minutes: s3s-fs, which has to be compiled, and schemathesis.
#
# Needs node with npm, python3 with venv, cargo. A stranger that cannot be had ends it with 75, and with a word which; one that
# does not find what it expects ends it with 1.
set -euo pipefail
program=$1 few=${2:-}
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

# A registry that is away is found to be so within minutes, not asked for as long as its client has patience.
npm_install() { timeout 120 npm install --no-audit --no-fund --silent --fetch-retries 1 --fetch-timeout 20000 "$@"; }
pip_install() { local venv=$1; shift; timeout 180 "$venv/bin/pip" install --quiet --disable-pip-version-check --retries 1 --timeout 20 "$@"; }

# What came once stays, until another version is wanted.
fresh() { [ -e "$work/$1" ] && [ "$(cat "$work/$1")" = "$2" ]; }

node=node
if [ "$(node --version | sed 's/^v\([0-9]*\).*/\1/')" -lt $oldest_node ]; then
    node=$work/node/node_modules/.bin/node
    if [ ! -x "$node" ]; then
        say "A newer node, for the strangers alone ..."
        npm_install --prefix "$work/node" "node@$oldest_node" || not_here "npm could not bring a newer node: see above."
    fi
fi
wanted=$(cat "$here/package.json")
if ! fresh js.have "$wanted"; then
    say "Strangers from npm ..."
    (cd "$work/js" && npm_install) || not_here "npm could not bring its strangers: see above."
    printf '%s' "$wanted" >"$work/js.have"
fi
wanted=$(cat "$here/requirements.txt")
if ! fresh py.have "$wanted"; then
    say "Strangers from PyPI ..."
    [ -x "$work/py/bin/python" ] || python3 -m venv "$work/py" || not_here "python3 makes no venv: see above."
    pip_install "$work/py" -r "$here/requirements.txt" ||
        not_here "pip could not bring its strangers: see above."
    printf '%s' "$wanted" >"$work/py.have"
fi
if [ -z "$few" ] && [ ! -x "$work/s3s/$s3s_fs/bin/s3s-fs" ]; then
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
    timeout "${bound:-120}" "$@" || failed="$failed $(basename "${!#}")"
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
if [ -z "$few" ]; then
    rm -rf "$work/s3s/root" && mkdir -p "$work/s3s/root/people"
    s3s=$(free_port) && starts s3s-fs "$work/s3s/$s3s_fs/bin/s3s-fs" --access-key safelight \
        --secret-key 'a-secret-of-forty-characters-for-s3s-fs!' --host 127.0.0.1 --port "$s3s" "$work/s3s/root"
    listens s3s-fs "$s3s"
    export SAFELIGHT_S3S=http://127.0.0.1:$s3s
fi
stripe=$(free_port) && starts localstripe "$work/py/bin/python" -c \
    'import sys; from aiohttp import web; from localstripe.server import app; web.run_app(app, host="127.0.0.1", port=int(sys.argv[1]))' "$stripe"
kent=$(free_port) && starts kent "$work/py/bin/kent-server" run --host 127.0.0.1 --port "$kent"
listens moto "$moto" && listens localstripe "$stripe" && listens kent "$kent"
"$node" -e 'fetch(process.argv[1], { method: "PUT" }).then(answer => process.exit(answer.ok ? 0 : 1))' "http://127.0.0.1:$moto/people" ||
    die "moto makes no bucket: see $work/moto.log."
export SAFELIGHT_MOTO=http://127.0.0.1:$moto SAFELIGHT_LOCALSTRIPE=http://127.0.0.1:$stripe SAFELIGHT_KENT=http://127.0.0.1:$kent
[ -n "$few" ] || and_s3s=' and s3s-fs'
say "Our clients against moto, localstripe, kent${and_s3s:-}"
(cd "$here/../.." && SQLX_OFFLINE=true cargo test --quiet --workspace --test engine -- strangers:: --ignored ${few:+--skip s3s}) || failed="$failed strangers.rs"

if [ -z "$few" ]; then
    schemathesis=$work/schemathesis/bin/schemathesis
    if [ ! -x "$schemathesis" ]; then
        python3 -m venv "$work/schemathesis" && pip_install "$work/schemathesis" schemathesis==4.32.5 ||
            not_here "pip could not bring schemathesis: see above."
    fi
    bound=600 meet "schemathesis against the intake" "$program" bench --log error run -- bash "$here/schema.sh" "$program" "$schemathesis"
fi

[ -z "$failed" ] || die "Not as a stranger expects it:$failed"
say "Every stranger found what it expects${few:+ (s3s-fs and schemathesis come with ./dev conformance)}."
