#!/usr/bin/env bash
# schemathesis asks every operation of the description for what breaks it: values that fit, values that nearly fit, and bytes that do
# not fit at all. schema.sh PROGRAM SCHEMATHESIS, with DATABASE_URL of a server that is gone afterwards (`PROGRAM bench run --`).
# No answer may be a fault of ours, each is one that the description names, and without a token nothing opens. Once as a tenant's
# backend, and once as the house, for which other routes open.
set -euo pipefail
program=$1 schemathesis=$2
port=$(python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
SAFELIGHT_MASTER_KEY=$(python3 -c 'import secrets; print(secrets.token_hex(32))')
export SAFELIGHT_MASTER_KEY SAFELIGHT_LISTEN=127.0.0.1:$port SAFELIGHT_LOG=error SAFELIGHT_TOKEN_PER_MINUTE=1000000
# No provider is asked, and where the store would be nothing listens: what needs it says that it does not answer.
export STRIPE_WEBHOOK_SECRET=whsec_of_this_run
export S3_ENDPOINT=http://127.0.0.1:9/s3 S3_ACCESS_KEY=none S3_SECRET_KEY=none
"$program" migrate >/dev/null
scopes=enqueue,read,operate,audit
tokens=("$("$program" token create a-tenants --tenant koselfie --scopes $scopes)" "$("$program" token create the-houses --scopes $scopes)")
"$program" api &
intake=$!
trap 'kill $intake 2>/dev/null || true; wait $intake 2>/dev/null || true' EXIT
work=$(mktemp -d)
cd "$work"
# `503` is an answer of a store that is not there; a stream of events has no end. A request that waits for news (`?wait=`) may take
# as long as the intake lets it, so the limit of a request is above that.
for token in "${tokens[@]}"; do
    "$schemathesis" run "http://127.0.0.1:$port/openapi.json" --wait-for-schema 20 --header "Authorization: Bearer $token" \
        --checks not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance,unsupported_method,ignored_auth \
        --exclude-operation-id followOrder --max-examples "${EXAMPLES:-10}" --seed "${SEED:-4711}" --workers 1 --request-timeout 60 \
        --continue-on-failure --no-color --warnings off
done
