#!/usr/bin/env bash
# The example of Next.js, built by Vercel's own command and asked as Vercel asks it, against an intake on a private Postgres and the
# stand-ins: vercel.sh PROGRAM. Needs Node 20, npm, a gigabyte for as long as it runs, and some minutes.
#
# Never: signs in at Vercel or deploys anything, also where somebody is signed in; or writes into the checkout.
set -euo pipefail
program=$(realpath "$1")
vercel=60.1.3
repository=$(cd "$(dirname "${BASH_SOURCE[0]}")/../../.." && pwd)
work=$(mktemp -d)
stand_ins=
trap '[ -z "$stand_ins" ] || { kill $stand_ins 2>/dev/null || true; wait $stand_ins 2>/dev/null || true; }; rm -rf "$work"' EXIT
trap 'exit 1' INT TERM
say() { printf '%s\n' "$*" >&2; }
# A failure shows what was said; a success has nothing to say.
quietly() { "$@" >"$work/log" 2>&1 || { tail -n 40 "$work/log" >&2; say "It failed: $*"; exit 1; }; }

mkdir -p "$work/cli" "$work/home/clients" "$work/home/.vercel"
tar c -C "$repository/clients" --exclude node_modules --exclude dist --exclude .next --exclude .vercel --exclude next-env.d.ts typescript |
    tar x --no-same-owner -C "$work/home/clients"
cat >"$work/home/.vercel/project.json" <<'JSON'
{ "projectId": "prj_none", "orgId": "team_none", "settings": { "framework": "nextjs", "rootDirectory": "clients/typescript/examples/next" } }
JSON

say "Vercel's command ..."
quietly timeout 300 npm install --prefix "$work/cli" --ignore-scripts --no-fund --no-audit "vercel@$vercel"
say "vercel build ..."
export VERCEL_TELEMETRY_DISABLED=1 NEXT_TELEMETRY_DISABLED=1 NO_UPDATE_NOTIFIER=1
quietly timeout 400 env -u VERCEL_TOKEN -u VERCEL_ORG_ID -u VERCEL_PROJECT_ID \
    "$work/cli/node_modules/.bin/vercel" build --prod --yes --cwd "$work/home" --global-config "$work/config"

"$program" --log error sandbox >"$work/settings" &
stand_ins=$!
for _ in $(seq 200); do
    ! grep -q '^SENTRY_DSN=' "$work/settings" || break
    kill -0 $stand_ins 2>/dev/null || { say "The stand-ins ended."; exit 1; }
    sleep 0.1
done
set -a
# shellcheck disable=SC1091
. "$work/settings"
set +a
unset SENTRY_DSN
CRON_SECRET=$(node -p 'require("crypto").randomBytes(32).toString("hex")')
export CRON_SECRET SAFELIGHT_MODELS=$repository/models
say "What was built, asked ..."
timeout 240 "$program" bench --log error run -- bash "$repository/clients/typescript/test/with_intake.sh" "$program" \
    node "$repository/clients/typescript/test/vercel.mjs" "$work/home" "$program"
