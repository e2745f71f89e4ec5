#!/usr/bin/env bash
# Safelight's SQL function as a backend in any language calls it: one job a call, a commit of its own, by the client that also
# measures plain rows, so that both pay the same for it. SAFELIGHT: the binary; DATABASE_URL: where.
set -euo pipefail
verb=$1; shift
case $verb in
    setup | clean) exec "$SAFELIGHT" bench queue "$verb" ;;
    single) ;;
    *) echo "only setup, clean and single" >&2; exit 1 ;;
esac
jobs=10000 producers=16
for word in "$@"; do
    case $word in
        n=*) jobs=${word#n=} ;;
        p=*) producers=${word#p=} ;;
    esac
done
script=$(mktemp)
trap 'rm -f "$script"' EXIT
cat >"$script" <<'S'
select safelight.enqueue('bench_nothing', '{"t":1700000000000000}', 'sweeps');
S
each=$((jobs / producers))
tps=$(pgbench -n -M prepared -c "$producers" -j 2 -t "$each" -f "$script" "$DATABASE_URL" 2>/dev/null | sed -n 's/^tps = \([0-9.]*\).*/\1/p')
awk -v t="$tps" -v n=$((each * producers)) -v p="$producers" \
    'BEGIN{printf "{\"test\":\"single\",\"n\":%s,\"producers\":%s,\"secs\":%.3f,\"per_s\":%.0f}\n",n,p,n/t,t}'
