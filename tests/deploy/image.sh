#!/usr/bin/env bash
# The container part of docs/deploy.md, tried: the image is built and its processes run by the lines of that page, with podman for
# docker. `./dev image` runs it, as root on Debian. $1: a program with stand-ins; $2: one that lends a command a private Postgres
# (sandbox/examples/with_database.rs); $3: a folder for images, which is used again.
#
# Where the hub of the base images does not answer, images with their names are made here: of Debian's packages and this machine's Rust.
#
# Never: changes the machine that it runs on (the processes have a network of their own), or types anything about the containers
# but what docs/deploy.md says.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
self=$PWD/tests/deploy/image.sh
say() { printf '%s\n' "$*" >&2; }
die() { say "$*"; exit 1; }

images() { podman --root "$folder/storage" --runroot "$folder/run" "$@"; }
# The page says docker.
docker() {
    local verb=$1
    shift
    images "$verb" --network host "$@"
}
typed() { bash -c "$(declare -f images docker); folder=$folder; $1"; }
lines() { awk '/^## Containers/ { on = 1; next } /^## / { on = 0 } on && /^    docker/ { print substr($0, 5) }' docs/deploy.md; }

base_images() {
    local rust debian made=$folder/made suite log=$folder/base.log
    rust=$(sed -n 's/^FROM \(.*\/rust:.*\) AS build$/\1/p' Dockerfile)
    debian=$(sed -n 's/^FROM \(.*\/debian:.*\)$/\1/p' Dockerfile)
    suite=${debian##*:} suite=${suite%-slim}
    [ -n "$rust" ] && [ -n "$suite" ] || die "Dockerfile names no image of Rust and of Debian any more."
    if images image exists "$rust" && images image exists "$debian"; then return; fi
    if timeout 60 podman --root "$folder/storage" --runroot "$folder/run" pull --quiet "$debian" "$rust" >"$log" 2>&1; then return; fi
    say "The hub does not answer: making images of the same names ..."
    rm -rf "$made"
    debootstrap --variant=minbase "$suite" "$made" http://deb.debian.org/debian >"$log" 2>&1 || { tail -n 5 "$log" >&2; die "debootstrap failed."; }
    tar -C "$made" -c . | images import --quiet - "$debian" >/dev/null
    rm -rf "$made"
    mkdir "$made"
    cp -a "$(rustc --print sysroot)/." "$made"
    # A network with an authority of its own is believed as on this machine.
    cp /etc/ssl/certs/ca-certificates.crt "$made"
    cat >"$folder/rust.dockerfile" <<DOCKERFILE
FROM $debian
RUN apt-get update && apt-get install -y --no-install-recommends ca-certificates gcc libc6-dev
COPY ca-certificates.crt /etc/ssl/certs/
COPY bin /usr/local/bin
COPY lib /usr/local/lib
DOCKERFILE
    images build --network host --tag "$rust" --file "$folder/rust.dockerfile" "$made" >"$log" 2>&1 || { tail -n 5 "$log" >&2; die "No image of Rust."; }
    rm -rf "$made"
}

build() {
    base_images
    say "Building the image ..."
    typed "$(lines | grep ' build ')" >"$folder/build.log" 2>&1 || { tail -n 20 "$folder/build.log" >&2; die "The image cannot be built."; }
    say "It is $(images image inspect --format '{{.Size}}' safelight | numfmt --to=si)B."
}

until_true() { # seconds, what, command...
    local seconds=$1 what=$2
    shift 2
    for _ in $(seq "$((seconds * 5))"); do ! "$@" >/dev/null 2>&1 || return 0; sleep 0.2; done
    for container in $(images ps --all --quiet); do images logs --tail 20 "$container" >&2 || true; done
    die "Not within $seconds seconds: $what."
}

ended() {
    images kill --all >/dev/null 2>&1 || true
    images rm --all --force >/dev/null 2>&1 || true
    [ -z "${stand_ins:-}" ] || kill "$stand_ins" 2>/dev/null || true
    wait 2>/dev/null || true
    rm -rf "$work"
}

# In a network of its own, with DATABASE_URL of an empty Postgres.
run() {
    local token first
    work=$(mktemp -d) stand_ins=''
    trap ended EXIT
    "$sandbox" sandbox >"$work/stand-ins" 2>"$work/stand-ins.log" &
    stand_ins=$!
    until_true 30 'the stand-ins are up' grep -q SENTRY_DSN "$work/stand-ins"
    {
        # No quotes: the page says that an env file is no shell's.
        sed 's/="\(.*\)"$/=\1/' "$work/stand-ins"
        echo "DATABASE_URL=$DATABASE_URL"
        for secret in SAFELIGHT_MASTER_KEY CRON_SECRET METRICS_SECRET; do
            echo "$secret=$(head -c 32 /dev/urandom | od -An -tx1 | tr -d ' \n')"
        done
    } >"$work/environment"
    # The lines name the file without a folder.
    each() { (cd "$work" && typed "$1"); }

    say "Typing what docs/deploy.md says ..."
    each "$(lines | grep ' migrate$')" >"$work/typed" 2>&1 || { tail -n 20 "$work/typed" >&2; die "migrate failed."; }
    api=$(each "$(lines | grep -- '-p 127')" 2>>"$work/typed")
    worker=$(each "$(lines | grep ' worker')" 2>>"$work/typed")
    until_true 30 'the intake is ready' curl -fsS http://127.0.0.1:8080/ready
    token=$(each 'docker run --rm --env-file environment safelight token create --tenant koselfie --scopes enqueue,read image')
    asks() { curl -fsS "http://127.0.0.1:8080$1" -H "authorization: Bearer $token" ${2:+-H 'content-type: application/json' -d "$2"}; }
    # A person's export needs the intake, the worker, the keys and the store.
    exports_somebody() {
        local subject export
        subject=$(asks /v1/subjects "{\"email\": \"ann+$RANDOM@example.org\"}" | jq -r .subject)
        export=$(asks "/v1/subjects/$subject/exports" '{}' | jq -r .export)
        made() { asks "/v1/subjects/$subject/exports/$export" | jq -e '.state == "ready"'; }
        until_true 30 "an export is ready ($1)" made
    }
    exports_somebody 'after the start'

    first=$(images inspect --format '{{.State.Pid}}' "$worker")
    grep -q '^CapEff:	0000000000000000$' "/proc/$first/status" || die "The worker has capabilities."
    [ "$(stat -c %u "/proc/$first")" = 65532 ] || die "The worker is not the user that Dockerfile names."
    images exec "$worker" sh -c 'cat "$SAFELIGHT_MODELS"/*.onnx >/dev/null' || die "The worker cannot read the models."
    ! images exec "$worker" touch /usr/local/share/safelight/models/x 2>/dev/null || die "The models can be written."
    images kill --signal KILL "$worker" >/dev/null
    worker=$(each "$(lines | grep ' worker')" 2>>"$work/typed")
    exports_somebody 'after kill -9 and another worker'

    for container in "$worker" "$api"; do
        images stop "$container" >/dev/null
        [ "$(images inspect --format '{{.State.ExitCode}}' "$container")" = 0 ] || die "A process did not end by itself."
    done
    say "The image is built as the page says; its processes work, come back after kill -9, hold no rights, and end in time."
}

# First as it was called, then with mounts, then with a network, at last with a database of its own.
case ${4:-outside} in
    outside)
        mkdir -p "$3"
        # Limits and control groups of this machine: a container of a test needs none of its own.
        printf '[containers]\ncgroups = "disabled"\ndefault_ulimits = ["nofile=1024:4096", "nproc=4096:4096"]\n' >"$3/containers.conf"
        printf '[engine]\ncgroup_manager = "cgroupfs"\nevents_logger = "file"\n' >>"$3/containers.conf"
        CONTAINERS_CONF=$(realpath "$3/containers.conf")
        export CONTAINERS_CONF
        exec unshare --mount bash "$self" "$(realpath "$1")" "$(realpath "$2")" "$(realpath "$3")" mounts ;;
esac
sandbox=$1 lend=$2 folder=$3
case $4 in
    mounts)
        # podman's runtime refuses a machine that mounts both generations of control groups.
        ! mountpoint -q /sys/fs/cgroup/unified || umount /sys/fs/cgroup/unified
        build
        unshare --net bash "$self" "$sandbox" "$lend" "$folder" network ;;
    network)
        ip link set lo up
        mkdir -p "$folder/none"
        "$lend" "$folder/none" bash "$self" "$sandbox" "$lend" "$folder" database ;;
    database) run ;;
esac
