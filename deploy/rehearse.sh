#!/usr/bin/env bash
# Rehearse deploy/Dockerfile without a container engine: read its steps, run them in an empty temporary directory, start
# the installed gateway the way the image would and ask its own HEALTHCHECK. Absolute paths of ENV, WORKDIR and COPY are
# put below that directory, so nothing outside it is touched. Not rehearsed: the base image, the user, file ownership.
# The Redis that compose.yaml brings is, unless REDIS_URL names one, a redis-server of PATH or of .venv (make setup).
# Usage: deploy/rehearse.sh   (python3 of PATH stands for the base image's; needs the package registries)
set -euo pipefail

repository=$(cd "$(dirname "$0")/.." && pwd)
dockerfile=$repository/deploy/Dockerfile
scratch=$(mktemp -d)
context=$scratch/context root=$scratch/root logfile=$scratch/gateway.log
server="" redis=""
end() { [ -z "$1" ] || { kill "$1" 2>/dev/null || true; wait "$1" 2>/dev/null || true; }; }
trap 'end "$server"; end "$redis"; rm -rf "$scratch"' EXIT

fail() { echo "rehearse: $*" >&2; exit 1; }
below_root() { case $1 in "$root"*) echo "$1" ;; /*) echo "$root$1" ;; *) echo "$directory/$1" ;; esac; }
# Expand $NAME as Docker does: variables only, no command runs.
expand() { python3 -c 'import os, sys; sys.stdout.write(os.path.expandvars(sys.argv[1]))' "$1"; }
exec_form() { python3 -c 'import json, sys; print("\n".join(json.loads(sys.argv[1])))' "$1"; }

make_context() {  # what .dockerignore lets into the image, and no more
  mkdir "$context"
  grep '^!' "$repository/.dockerignore" | tr -d '!' | while read -r name; do
    [ ! -e "$repository/$name" ] || cp -R "$repository/$name" "$context/"
  done
  find "$context" -name __pycache__ -type d -prune -exec rm -rf {} +
}

begin_stage() {  # $1 = base [AS name]; what the stage before left behind is only reachable by COPY --from
  [ ! -d "$root" ] || mv "$root" "$scratch/stage-$stage"
  stage=$(awk 'tolower($2) == "as" { print $3 }' <<<"$1")
  stage=${stage:-final}
  mkdir -p "$root"
  directory=$root
  export PATH=$base_path
}

set_variable() {
  local name=${1%%=*} value
  value=$(expand "${1#*=}")
  case $value in "$root"*) ;; /*) value=$root$value ;; esac
  export "$name=$value"
}

copy() {
  local from=$context source word words=()
  for word in $1; do
    case $word in
      --from=*) from=$scratch/stage-${word#--from=} ;;
      --chown=*) ;;
      --*) fail "COPY $word is not understood" ;;
      *) words+=("$(expand "$word")") ;;
    esac
  done
  local target
  target=$(below_root "${words[-1]}")
  unset 'words[-1]'
  for source in "${words[@]}"; do
    source=$from/${source#"$root"}
    [ -e "$source" ] || fail "COPY: $source is not there"
    if [ -d "$source" ]; then mkdir -p "$target" && cp -R "$source/." "$target/"; else cp "$source" "$target/"; fi
  done
}

base_path=$PATH stage="" directory=$root entrypoint="" command="" healthcheck=""
unset PYTHONPATH VIRTUAL_ENV
make_context
while read -r verb rest; do
  case $verb in
    FROM) echo "== $verb $rest"; begin_stage "$rest" ;;
    ENV) set_variable "$rest" ;;
    WORKDIR) directory=$(below_root "$(expand "$rest")"); mkdir -p "$directory" ;;
    COPY) echo "-- $verb $rest"; copy "$rest" ;;
    RUN)
      echo "-- $verb $rest"
      ! grep -Eq '(^|[ =])"?/[a-z]' <<<"$rest" || fail "RUN names an absolute path; use a variable: $rest"
      (cd "$directory" && sh -ec "$rest") || fail "RUN failed: $rest"
      ;;
    HEALTHCHECK) healthcheck=${rest#*CMD } ;;
    ENTRYPOINT) entrypoint=$rest ;;
    CMD) command=$rest ;;
    USER | EXPOSE | STOPSIGNAL) ;;
    *) fail "$verb is not understood; teach deploy/rehearse.sh" ;;
  esac
done < <(sed -e '/^#/d' -e '/^$/d' "$dockerfile" | sed -e ':a' -e '/\\$/{N;s/\\\n *//;ba' -e '}')

[ -n "$healthcheck" ] && [ -n "$entrypoint" ] && [ -n "$command" ] || fail "HEALTHCHECK, ENTRYPOINT or CMD is missing"
mapfile -t arguments < <(exec_form "$entrypoint"; exec_form "$command")
FOREWORD_PORT=$(python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
export FOREWORD_PORT FOREWORD_HOST=127.0.0.1
case $(command -v "${arguments[0]}") in "$root"/*) ;; *) fail "${arguments[0]} is not the one just installed" ;; esac

if [ -z "${REDIS_URL:-}" ]; then
  redis_binary=$(PATH=$base_path command -v redis-server || echo "$repository/.venv/bin/redis-server")
  [ -x "$redis_binary" ] || fail "no redis-server in PATH and none in .venv: run make setup, or set REDIS_URL"
  "$redis_binary" --port 0 --unixsocket "$scratch/redis.sock" --dir "$scratch" --save "" >"$scratch/redis.log" 2>&1 &
  redis=$!
  export REDIS_URL=unix://$scratch/redis.sock
fi

echo "== ${arguments[*]}"
(cd "$directory" && exec "${arguments[@]}") >"$logfile" 2>&1 &
server=$!
for _ in $(seq 120); do
  if sh -c "$healthcheck" 2>/dev/null; then
    echo "rehearse: /health/live answers on port $FOREWORD_PORT"
    kill "$server"
    wait "$server" || fail "the gateway did not end cleanly on SIGTERM: $(tail -n 20 "$logfile")"
    server=""
    exit 0
  fi
  kill -0 "$server" 2>/dev/null || break
  sleep 0.5
done
cat "$logfile" >&2
fail "the gateway did not become healthy"
