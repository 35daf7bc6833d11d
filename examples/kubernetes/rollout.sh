#!/usr/bin/env bash
# Rolls an image out: preflight, a canary of 10 %, then 50 %, then all of it. Goes back by itself when a pod's own
# verdict (GET /rollout) says so, when a pod cannot be judged, and when this script fails or is interrupted.
#
#   examples/kubernetes/rollout.sh registry.example/shop:1.2.3
#
# Exit status: 0 all pods run IMAGE; 1 rolled back; 2 nothing was changed; 3 the way back failed too, and what is
# left to do by hand was printed.
#
# variable        default  meaning
# NAMESPACE       default
# APP             shop     the Deployments APP and APP-canary, their label `app` and their container
# PORT            8080     where a pod serves /rollout and /readyz/strict
# STEPS           "10 50"  the canary's share of the pods, step by step, in percent below 100
# WATCH           600      seconds to watch each step, and all of it at the end
# POLL            15       seconds between two looks
# MAX_HOLD        600      seconds beyond WATCH to wait for a `proceed`, then it goes back
# MAX_UNREADABLE  8        looks in a row that find a pod without a verdict, then it goes back
# READY           600      seconds until the pods of a step must be ready
# TRIES           5        how often each command of the way back is tried
# PREFLIGHT                a command that must succeed first; by default each stable pod must be healthy: its strict
#                          route answers 200
set -euo pipefail

[ $# -eq 1 ] || { sed -n '2,/^set -/{/^#/s/^# \{0,1\}//p}' "$0" >&2; exit 2; }
IMAGE=$1
NAMESPACE=${NAMESPACE:-default} APP=${APP:-shop} PORT=${PORT:-8080} STEPS=${STEPS:-10 50}
WATCH=${WATCH:-600} POLL=${POLL:-15} MAX_HOLD=${MAX_HOLD:-600} MAX_UNREADABLE=${MAX_UNREADABLE:-8}
READY=${READY:-600} TRIES=${TRIES:-5} PREFLIGHT=${PREFLIGHT:-}

say() { echo "$(date +%T) $*"; }
give_up() { say "$*"; exit 1; }
kube() { kubectl --namespace "$NAMESPACE" --request-timeout 10s "$@"; }

# A signal is answered at once, not when the command ends.
child=
interruptibly() {
    local status=0
    "$@" & child=$!
    wait "$child" || status=$?
    child=
    return "$status"
}

image_of() { kube get deployment "$1" -o "jsonpath={.spec.template.spec.containers[?(@.name==\"$APP\")].image}"; }

# Pods of a track, without those that are leaving.
pods_of() {
    kube get pods --selector "app=$APP,track=$1" --output \
        go-template='{{range .items}}{{if not .metadata.deletionTimestamp}}{{.metadata.name}} {{end}}{{end}}'
}

ask() { kube get --raw "/api/v1/namespaces/$NAMESPACE/pods/$1:$PORT/proxy$2"; }

wait_until_ready() { interruptibly kubectl --namespace "$NAMESPACE" rollout status "deployment/$1" --timeout "${READY}s"; }

preflight() {
    local pods pod
    if [ -n "$PREFLIGHT" ]; then
        interruptibly bash -c "$PREFLIGHT"
        return
    fi
    pods=$(pods_of stable)
    for pod in ${pods:?no stable pods}; do
        ask "$pod" /readyz/strict >/dev/null || {
            say "$pod is not healthy. Why: kubectl get --raw /api/v1/namespaces/$NAMESPACE/pods/$pod:$PORT/proxy/readyz"
            return 1
        }
    done
}

verdicts='^\{ *"verdict": *"(proceed|hold|rollback)"'

# The worst of a track's verdicts: rollback, unreadable, hold or proceed.
judge() {
    local pods pod answer
    verdict=proceed
    pods=$(pods_of "$1") && [ -n "$pods" ] || verdict=unreadable
    for pod in $pods; do
        answer=$(ask "$pod" /rollout) || answer="no answer"
        if [[ $answer =~ $verdicts ]]; then
            case ${BASH_REMATCH[1]} in
                proceed) continue ;;
                hold) [ "$verdict" = unreadable ] || verdict=hold ;;
                rollback) verdict=rollback ;;
            esac
        else
            verdict=unreadable
        fi
        say "$pod: $answer"
        [ "$verdict" != rollback ] || return 0
    done
}

# The last word counts: a watch that ends with `hold` goes on until `proceed`, or too long.
watch() { # the track
    local begun=$SECONDS unreadable=0 watched
    say "watching the $1 pods for $WATCH s"
    while true; do
        judge "$1"
        watched=$((SECONDS - begun))
        case $verdict in
            rollback) give_up "a $1 pod says: go back" ;;
            unreadable)
                unreadable=$((unreadable + 1))
                [ "$unreadable" -lt "$MAX_UNREADABLE" ] || give_up "no verdict from the $1 pods, $unreadable times in a row"
                ;;
            *) unreadable=0 ;;
        esac
        if [ "$watched" -ge "$WATCH" ]; then
            [ "$verdict" != proceed ] || return 0
            [ "$watched" -lt $((WATCH + MAX_HOLD)) ] || give_up "after $watched s the $1 pods are still on $verdict"
        fi
        interruptibly sleep "$POLL"
    done
}

again() {
    local try
    for ((try = 1; try <= TRIES; try++)); do
        "$@" && return
        sleep "$POLL"
    done
    say "FAILED, to be done by hand: kubectl --namespace $NAMESPACE ${*:2}"
    by_hand=1
}

# What was changed so far: nothing, the canary, the stable Deployment too, or all that was to be.
phase=nothing
end() {
    trap '' INT TERM HUP # a second Ctrl-C does not stop the way back
    trap - EXIT
    set +e
    [ -z "$child" ] || kill "$child" 2>/dev/null
    case $phase in
        nothing) exit 2 ;;
        complete) exit 0 ;;
    esac
    say "rolling back"
    by_hand=0
    if [ "$phase" = stable ]; then
        # By number: were the change not made yet, a plain undo would go one too far.
        again kube rollout undo "deployment/$APP" --to-revision "$revision"
    fi
    again kube scale "deployment/$APP-canary" --replicas 0
    # Who scales it up by hand does not get the image that failed.
    again kube set image "deployment/$APP-canary" "$APP=$canary_image"
    if [ "$phase" = stable ] && [ "$by_hand" = 0 ]; then
        wait_until_ready "$APP" || by_hand=1
    fi
    [ "$by_hand" = 0 ] || { say "THE WAY BACK IS NOT COMPLETE"; exit 3; }
    say "rolled back: $APP runs $stable_image"
    exit 1
}
trap end EXIT
trap 'exit 1' INT TERM HUP

stable_image=$(image_of "$APP")
canary_image=$(image_of "$APP-canary")

if [ "$stable_image" = "$IMAGE" ]; then
    say "$APP runs $IMAGE already"
    kube scale "deployment/$APP-canary" --replicas 0
    wait_until_ready "$APP"
    phase=complete
    exit
fi

say "preflight"
wait_until_ready "$APP"
revision=$(kube get deployment "$APP" -o 'jsonpath={.metadata.annotations.deployment\.kubernetes\.io/revision}')
: "${revision:?unknown, so there would be no way back}"
preflight

phase=canary
kube set image "deployment/$APP-canary" "$APP=$IMAGE"
for share in $STEPS; do
    # The stable pods stay as they are, so that the way back is short: the canary alone grows, one pod at least.
    stable=$(kube get deployment "$APP" -o 'jsonpath={.spec.replicas}')
    canary=$(((stable * share + (100 - share) / 2) / (100 - share)))
    canary=$((canary > 0 ? canary : 1))
    say "canary of $share %: $canary beside $stable"
    kube scale "deployment/$APP-canary" --replicas "$canary"
    wait_until_ready "$APP-canary"
    watch canary
done

phase=stable
say "all of it"
kube set image "deployment/$APP" "$APP=$IMAGE"
wait_until_ready "$APP"
kube scale "deployment/$APP-canary" --replicas 0
watch stable
phase=complete
say "done: $APP runs $IMAGE"
