#!/usr/bin/env bash
# The official clients' programs and tests against ringbus; see each script for what it needs.
set -euo pipefail
here=$(dirname "$0")
"$here/compat-go.sh"
"$here/compat-nats-py.sh"
"$here/compat-async-nats.sh"
