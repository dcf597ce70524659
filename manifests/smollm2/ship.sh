#!/usr/bin/env bash
# Trains SmolLM2's patches from nothing, composes them, tests the composition, and puts all of it where it ships.
# Run by `make smollm2`, in a home of its own: hours on two cores. Finished stages are kept, so it goes on where it was.
# Options are those of the test: what ships was made with --accept over-refusal --accept benign-answers --reason "...", and in float32 with
# --accept harm --accept civility, too, as the audits beside it say. PREFIXES names a folder with earlier packages of some patches, whose prefixes are kept.
set -euo pipefail
cd "$(dirname "$0")/../.."
export PPM_HOME="$PWD/build/smollm2" PATH="$PWD/.venv/bin:$PATH"
shipped="$PWD/ppm/bases/shipped/smollm2"

if [ -n "${PREFIXES:-}" ]; then # before those that ship are removed
    earlier="$PPM_HOME/earlier"
    rm -rf "$earlier" && mkdir -p "$earlier"
    cp "$PREFIXES"/*.ppm "$earlier"
fi
ppm base fetch smollm2
rm -f "$shipped"/*.ppm "$shipped"/bfloat16/*.ppm "$shipped"/*/*.audit.json # each ppm.lock keeps its counts of attempts
for patch in harm-refusal gender-bias civility; do
    prefix="$(find "${earlier:-/nowhere}" -name "${patch//-/_}-*.ppm" 2> /dev/null || true)"
    ppm build "manifests/smollm2/$patch" --dtype bfloat16 --output "$shipped" ${prefix:+--prefix-of "$prefix"}
done
# The same composition, tested in both dtypes: processors without instructions for bfloat16 are slow in it. Each has an
# environment of its own, so that it is held to its specialists and not to the other.
for dtype in bfloat16 float32; do
    cd "$shipped/$dtype"
    rm -rf "$PPM_HOME/$dtype"
    ppm lock --dtype "$dtype"
    ppm sync --recompose --env "$dtype" "$@" # composes, tests, and writes the composition into the lock
    ppm download --locked --dest "$PPM_HOME/$dtype"
    cp "$PPM_HOME/$dtype"/*.audit.json .
done
cp "$PPM_HOME"/bfloat16/*_routed-*.ppm "$shipped/bfloat16"
# Both locks carry the counts of all attempts, the last ones included.
sed -i '/^\[attempts\]/,$d' "$shipped/bfloat16/ppm.lock"
sed -n '/^\[attempts\]/,$p' "$shipped/float32/ppm.lock" >> "$shipped/bfloat16/ppm.lock"
