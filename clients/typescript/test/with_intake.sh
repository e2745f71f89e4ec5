#!/usr/bin/env bash
# Starts an intake on the database of DATABASE_URL, makes a token, runs a command that finds both, and takes the intake away.
# with_intake.sh PROGRAM COMMAND...; S3_ENDPOINT, S3_ACCESS_KEY and S3_SECRET_KEY say which store.
set -euo pipefail
program=$1
shift
port=$(node -e 'const s = require("net").createServer().listen(0, "127.0.0.1", () => { console.log(s.address().port); s.close(); })')
SAFELIGHT_MASTER_KEY=$(node -p 'require("crypto").randomBytes(32).toString("hex")')
export SAFELIGHT_MASTER_KEY SAFELIGHT_LISTEN=127.0.0.1:$port SAFELIGHT_LOG=warn
"$program" migrate >/dev/null
SAFELIGHT_TOKEN=$("$program" token create client --tenant koselfie --scopes enqueue,read)
export SAFELIGHT_TOKEN SAFELIGHT_URL=http://$SAFELIGHT_LISTEN
"$program" api &
intake=$!
trap 'kill $intake 2>/dev/null || true; wait $intake 2>/dev/null || true' EXIT
for _ in $(seq 100); do
    ! node -e 'fetch(process.env.SAFELIGHT_URL + "/ready").then((r) => process.exit(r.ok ? 0 : 1), () => process.exit(1))' || break
    sleep 0.1
done
"$@"
