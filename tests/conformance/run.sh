#!/usr/bin/env bash
# The providers' own clients drive our stand-ins. `./dev conformance` builds the program and calls this with its path.
# Needs node with npm, and python3 with venv; a stranger that cannot be had is a failure, not a skip.
set -euo pipefail
program=$1
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
work=${CARGO_TARGET_DIR:-$here/../../target}/conformance
say() { printf '%s\n' "$*" >&2; }
die() { say "$*"; exit 1; }

for tool in node npm python3; do command -v "$tool" >/dev/null || die "The strangers need $tool: install it."; done
mkdir -p "$work/js"
cp "$here"/*.mjs "$here/package.json" "$work/js/"
say "Strangers from npm and PyPI ..."
(cd "$work/js" && npm install --no-audit --no-fund --silent) || die "npm could not bring its strangers: see above."
[ -x "$work/py/bin/python" ] || python3 -m venv "$work/py"
"$work/py/bin/pip" install --quiet --disable-pip-version-check -r "$here/requirements.txt" ||
    die "pip could not bring its strangers: see above."

export SANDBOX=$work/sandbox.json
rm -f "$SANDBOX"
"$program" sandbox --json >"$SANDBOX" 2>"$work/sandbox.log" &
sandbox=$!
trap 'kill $sandbox 2>/dev/null || true' EXIT
for _ in $(seq 200); do
    ! node -e 'JSON.parse(require("fs").readFileSync(process.env.SANDBOX))' 2>/dev/null || break
    kill -0 $sandbox 2>/dev/null || die "The stand-ins ended: see $work/sandbox.log."
    sleep 0.1
done

failed=''
meet() {
    say "$1"
    shift
    timeout 120 "$@" || failed="$failed $(basename "${!#}")"
}
meet "@fal-ai/client against Fal's stand-in" node "$work/js/fal.mjs"
meet "stripe against Stripe's stand-in" node "$work/js/stripe.mjs"
meet "resend against Resend's stand-in" node "$work/js/resend.mjs"
meet "@supabase/auth-js and storage-js against Supabase's stand-in" node "$work/js/supabase.mjs"
meet "fal-client (Python) against Fal's stand-in" "$work/py/bin/python" "$here/fal.py"
meet "stripe (Python) against Stripe's stand-in" "$work/py/bin/python" "$here/stripe_client.py"
meet "storage3 (Python) against Supabase Storage's stand-in" "$work/py/bin/python" "$here/storage.py"
[ -z "$failed" ] || die "Not as the provider's own client expects it:$failed"
say "Every stranger found what it expects."
