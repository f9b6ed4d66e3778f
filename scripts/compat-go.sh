#!/usr/bin/env bash
# The example programs of nats.go, the client that most people use, against a server each, and what
# they print. nats-bench ends only when every subscriber has had every message, so ending in time is
# the check. COMPAT_SERVERS=ringbus leaves the reference out; COMPAT_MESSAGES=n publishes n messages
# a bench (100000).
source "$(dirname "$0")/lib/common.sh"

version=v1.55.0
programs=(nats-bench nats-pub nats-sub nats-qsub nats-req nats-rply nats-echo)
bin=$tools/go/bin
messages=${COMPAT_MESSAGES:-100000}
seconds_max=120
failed=0
scratch=$(mktemp -d)
children=()

install() {
  need go "install it (Debian: apt-get install golang)"
  local name
  for name in "${programs[@]}"; do
    [ -x "$bin/$name" ] ||
      GOBIN=$bin go install "github.com/nats-io/nats.go/examples/$name@$version"
  done
}

stop() {
  local child
  for child in "${children[@]}"; do
    kill "$child" 2>/dev/null || true
    wait "$child" 2>/dev/null || true
  done
  children=()
}
trap 'stop; rm -rf "$scratch"' EXIT

# Waits until a file holds a line that matches; fails after a while.
await() {
  local file=$1 pattern=$2 tries
  for ((tries = 0; tries < 200; tries++)); do
    grep -qE "$pattern" "$file" && return 0
    sleep 0.05
  done
  echo "FAIL no /$pattern/ in:" && sed 's/^/    /' "$file"
  return 1
}

# Starts a server on a port of the kernel's choice; sets `url`.
start() {
  local server=$1 log=$scratch/server.log
  shift
  : >"$log"
  "$server" -a 127.0.0.1 -p -1 "$@" 2>"$log" &
  children+=($!)
  await "$log" "Server is ready" || die "$server does not start"
  local listening='s/.*Listening for client connections on .*:([0-9]+).*/\1/p'
  url=nats://127.0.0.1:$(sed -nE "$listening" "$log" | head -1)
}

# Starts a program in the background with its output in NAME.log and waits until it listens.
listen() {
  local name=$1 log=$scratch/$1.log program=$2
  shift 2
  : >"$log"
  "$bin/$program" -s "$url" "$@" >"$log" 2>&1 &
  children+=($!)
  await "$log" "istening on"
}

check() {
  local name=$1
  shift
  if "$@"; then echo "ok   $name"; else
    echo "FAIL $name"
    failed=$((failed + 1))
  fi
}

publish_subscribe() {
  listen sub nats-sub "tele.*" &&
    "$bin/nats-pub" -s "$url" tele.a "hello there" >"$scratch/pub.log" 2>&1 &&
    await "$scratch/pub.log" "^Published \[tele.a\] : 'hello there'$" &&
    await "$scratch/sub.log" "^\[#1\] Received on \[tele.a\]: 'hello there'$"
}

publish_with_reply() {
  listen sub2 nats-sub "ask" &&
    "$bin/nats-pub" -s "$url" -reply answer.here ask hi >/dev/null 2>&1 &&
    await "$scratch/sub2.log" "^\[#1\] Received on \[ask\]: 'hi'$"
}

# Each of 20 messages is taken by one of two members.
queue_group() {
  listen q1 nats-qsub "work.>" workers && listen q2 nats-qsub "work.>" workers || return 1
  local number
  for number in $(seq 20); do
    "$bin/nats-pub" -s "$url" work.item "job $number." >/dev/null 2>&1 || return 1
  done
  for number in $(seq 20); do
    cat "$scratch/q1.log" "$scratch/q2.log" >"$scratch/both.log"
    [ "$(grep -c "'job $number\.'" "$scratch/both.log")" = 1 ] || sleep 0.2
    cat "$scratch/q1.log" "$scratch/q2.log" >"$scratch/both.log"
    [ "$(grep -c "'job $number\.'" "$scratch/both.log")" = 1 ] ||
      { echo "job $number:" && grep "'job $number\.'" "$scratch/both.log"; return 1; }
  done
}

request_reply() {
  listen rply nats-rply help "at your service" &&
    "$bin/nats-req" -s "$url" help "are you there" >"$scratch/req.log" 2>&1 &&
    await "$scratch/req.log" "Received  \[_INBOX\..*\] : 'at your service'$" &&
    await "$scratch/rply.log" "^\[#1\] Received on \[help\]: 'are you there'$"
}

request_to_nobody() {
  ! "$bin/nats-req" -s "$url" nobody hi >"$scratch/none.log" 2>&1 &&
    await "$scratch/none.log" "no responders available"
}

echo_service() {
  listen echo nats-echo echo.me &&
    "$bin/nats-req" -s "$url" echo.me "round and back" >"$scratch/ereq.log" 2>&1 &&
    await "$scratch/ereq.log" "'round and back'$" &&
    "$bin/nats-req" -s "$url" echo.me.status "" >"$scratch/status.log" 2>&1 &&
    await "$scratch/status.log" "NATS Echo Service"
}

bench() {
  local publishers=$1 subscribers=$2 count=$3 log=$scratch/bench.log rate
  timeout "$seconds_max" "$bin/nats-bench" -s "$url" -np "$publishers" -ns "$subscribers" \
    -n "$count" -ms 16 bench.subject >"$log" 2>&1 || { sed 's/^/    /' "$log"; return 1; }
  rate=$(grep -E 'Pub/Sub stats|Pub stats' "$log" | head -1)
  [ -n "$rate" ] && echo "     $publishers->$subscribers, $count messages: ${rate# }"
}

benches() {
  check "nats-bench 1->0" bench 1 0 $((messages * 10))
  check "nats-bench 1->1" bench 1 1 $((messages * 5))
  check "nats-bench 1->10" bench 1 10 "$messages"
  check "nats-bench 1->100" bench 1 100 $((messages / 10))
  check "nats-bench 5->5" bench 5 5 "$messages"
}

examine() {
  local server=$1
  shift
  echo "== nats.go $version against $server $*"
  start "$server" "$@"
  check "nats-pub, nats-sub" publish_subscribe
  check "nats-pub with a reply" publish_with_reply
  check "nats-qsub" queue_group
  check "nats-req, nats-rply" request_reply
  check "nats-req to nobody" request_to_nobody
  check "nats-echo" echo_service
  benches
  stop
}

install
for name in ${COMPAT_SERVERS:-reference ringbus}; do
  case $name in
    reference) examine "$(reference_server)" ;;
    ringbus)
      server=$(server_under_test)
      if is_reference "$server"; then examine "$server"; else
        for shards in 1 2 4; do examine "$server" --shards "$shards"; done
      fi
      ;;
    *) die "COMPAT_SERVERS takes reference and ringbus, not $name" ;;
  esac
done
[ "$failed" = 0 ] || die "$failed checks failed"
