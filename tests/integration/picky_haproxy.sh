#!/bin/sh
# HAProxy, but for one thing: it does not know `maxconn 4242`, and refuses it in its own words for what it does not know.
previous=""
for argument in "$@"; do
    if [ "$previous" = "-f" ] && [ -f "$argument" ]; then sed -i "s/^ *maxconn 4242$/    frob 4242/" "$argument"; fi
    previous=$argument
done
exec haproxy "$@"
