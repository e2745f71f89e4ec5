#!/usr/bin/env bash
# Starts an intake on the database of DATABASE_URL, makes a token, runs the tests, and takes the intake away.
# with_intake.sh PROGRAM, from the folder of the client.
set -euo pipefail
program=$1
port=$(node -e 'const s = require("net").createServer().listen(0, "127.0.0.1", () => { console.log(s.address().port); s.close(); })')
SAFELIGHT_MASTER_KEY=$(node -p 'require("crypto").randomBytes(32).toString("hex")')
export SAFELIGHT_MASTER_KEY SAFELIGHT_LISTEN=127.0.0.1:$port SAFELIGHT_LOG=warn
# No object is stored here, and no provider is asked.
export S3_ENDPOINT=http://127.0.0.1:9/s3 S3_ACCESS_KEY=none S3_SECRET_KEY=none
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
npm test --silent
