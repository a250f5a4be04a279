#!/bin/sh
# HAProxy, but for one thing: it refuses `maxconn 4242` when it checks a configuration, as a real one refuses what it does not know.
previous=""
for argument in "$@"; do
    if [ "$previous" = "-f" ] && [ -f "$argument" ] && grep -q "^ *maxconn 4242$" "$argument"; then
        echo "[ALERT]    (1) : config : parsing [$argument:1] : maxconn 4242 is not to my taste." >&2
        exit 1
    fi
    previous=$argument
done
exec haproxy "$@"
