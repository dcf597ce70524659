#!/usr/bin/env bash
# Trains SmolLM2's patches from nothing, composes them, tests the composition, and puts all of it where it ships.
# Run by `make smollm2`, in a home of its own: hours on two cores. Finished stages are kept, so it goes on where it was.
# Options are those of the test: what ships was made with --accept over-refusal --accept benign-answers --reason "...", as the audit beside it says.
set -euo pipefail
cd "$(dirname "$0")/../.."
export PPM_HOME="$PWD/build/smollm2" PATH="$PWD/.venv/bin:$PATH"
shipped="$PWD/ppm/bases/shipped/smollm2"

ppm base fetch smollm2
rm -f "$shipped"/*.ppm "$shipped"/project/{*.ppm,*.audit.json} # ppm.lock keeps the count of attempts
for patch in harm-refusal gender-bias civility; do
    ppm build "manifests/smollm2/$patch" --dtype bfloat16 --output "$shipped"
done
cd "$shipped/project"
ppm lock --dtype bfloat16
ppm sync --recompose "$@" # composes, tests, and writes the composition into the lock
ppm download --locked --dest "$PPM_HOME/locked"
for file in "$PPM_HOME/locked"/*; do
    [ -e "$shipped/$(basename "$file")" ] || cp "$file" .
done
