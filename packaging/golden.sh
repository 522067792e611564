#!/bin/sh
# Whether an installed etcc-edge gives the labels in tests/data/golden: packaging/golden.sh [COMMAND]
# On any instruction set the labels, on the portable one each byte, confidences among them.
set -eu
command=${1:-etcc-edge}
data=$(dirname "$0")/../tests/data
scratch=$(mktemp -d)
trap 'rm -r "$scratch"' EXIT
for bundle in default no-ports wire iscx-tor-vpn-15s; do
  flows=$data/generated-flows.csv
  [ "$bundle" = iscx-tor-vpn-15s ] && flows=$data/generated-flows-iscx.csv
  golden=$data/golden/$bundle.labels.csv
  for set in portable ''; do
    ETCC_EDGE_INSTRUCTION_SET=$set "$command" infer "$flows" --bundle "$bundle" --backend native --columns labels \
      --min-confidence 0 -o "$scratch/labels.csv" --force >/dev/null 2>"$scratch/notes" || { cat "$scratch/notes" >&2; exit 1; }
    if [ -n "$set" ]; then
      cmp "$scratch/labels.csv" "$golden"
    else
      cut -d, -f1,3 "$golden" >"$scratch/golden.csv"
      cut -d, -f1,3 "$scratch/labels.csv" | cmp - "$scratch/golden.csv"
    fi
  done
  echo "$bundle: golden"
done
