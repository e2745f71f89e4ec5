#!/usr/bin/env bash
# The client generated anew, built with its examples, and tried against an intake on a private Postgres: run.sh PROGRAM. What is
# checked in must be what comes out: the description is held to the code by a test, and the client to the description here.
set -euo pipefail
program=$(realpath "$1")
cd "$(dirname "${BASH_SOURCE[0]}")/.."
before=$(cat src/schema.ts)
timeout 240 npm ci --silent --no-fund --no-audit
npm run --silent generate
[ "$(cat src/schema.ts)" = "$before" ] || { echo "clients/typescript/src/schema.ts is another one now: commit it." >&2; exit 1; }
npm run --silent build
# No object is stored here, and no provider is asked.
export S3_ENDPOINT=http://127.0.0.1:9/s3 S3_ACCESS_KEY=none S3_SECRET_KEY=none
exec "$program" bench --log error run -- bash test/with_intake.sh "$program" npm test --silent
