#!/usr/bin/env bash
# One load from several machines with GNU parallel: SHARDS processes of midge_conn, here or on the
# HOSTS (a list for --sshlogin, such as host1,host2), which start at the same instant. Their reports
# and logs come back and are merged into all.json, all.hlog and all.html.
#
#   URL=mqtt-tcp://broker:1883 CLIENTS=100000 HOSTS=gen1,gen2,gen3,gen4 SHARDS=4 ./parallel.sh
#
# CLIENTS is the number over all shards. The clocks of the machines have to be synchronised.
set -euo pipefail

: "${URL:?the broker, such as mqtt-tcp://broker:1883}" "${CLIENTS:?how many clients in all}"
export SHARDS=${SHARDS:-4}
start=$(date -u -d "now + ${LEAD:-10} seconds" +%Y-%m-%dT%H:%M:%SZ)
remote=()
if [ -n "${HOSTS:-}" ]; then
    remote=(--sshlogin "$HOSTS" --return 'shard-{}.json' --return 'shard-{}.hlog' --cleanup)
fi

# A shard that has not passed is no reason to lose the others: merge gives the verdict.
parallel --will-cite --jobs "$SHARDS" --env SHARDS \
    ${remote[@]+"${remote[@]}"} \
    midge_conn start --url "$URL" -C "$CLIENTS" -i "${INTERVAL:-1}" --hold "${HOLD:-60s}" \
    --seed "${SEED:-1}" --shard auto --start-at "$start" --quiet \
    --json shard-{}.json --hlog shard-{}.hlog ::: $(seq 0 $((SHARDS - 1))) || true

midge_conn merge shard-*.json shard-*.hlog --json all.json --hlog all.hlog --html all.html
