#!/usr/bin/env bash
# The same bits on ARM: Debian's Python for arm64 with NumPy's and Numba's wheels for it, under QEMU's
# user-mode emulation. That is 20 to 50 times slower, but the arithmetic is the architecture's, and
# LLVM makes the code of NEON.
#
#     bash bench/accuracy/arm.sh FOLDER [PYTHON]     half an hour; FOLDER takes 1 GB
#
# PYTHON has refquant's dependencies, as .venv/bin/python of README's test command has. Needs Debian's
# debootstrap and qemu-user-static. What it prints is recorded in bits.md.
set -euo pipefail
project=$(realpath "$(dirname "$0")/../..")
folder=$(realpath -m "$1")
python=$(realpath -s "${2:-$(command -v python3)}")
root=$folder/root site=$folder/site wheels=$folder/wheels source=$folder/source
mkdir -p "$site" "$wheels" "$source"

if [ ! -e "$root/usr/bin/python3" ]; then
    debootstrap --arch=arm64 --foreign --variant=minbase --include=python3 bookworm "$root"
    # The second stage would need a kernel that starts arm64 programs; the files are enough.
    for package in "$root"/var/cache/apt/archives/*.deb; do dpkg-deb -x "$package" "$root"; done
fi
"$python" -m pip download -q -d "$wheels" --only-binary=:all: --python-version 3.11 \
    --platform manylinux2014_aarch64 --platform manylinux_2_17_aarch64 \
    --platform manylinux_2_27_aarch64 --platform manylinux_2_28_aarch64 --platform any \
    numpy numba h5py pillow pycocotools tqdm pytest
for wheel in "$wheels"/*.whl; do "$python" -m zipfile -e "$wheel" "$site"; done

git -C "$project" archive HEAD | tar -x -C "$source"
ln -sfn ../weights "$source/refquant/weights" # where an installation has it
cd "$source"
arm() {
    PYTHONPATH=$source:$source/tests/support:$site NUMBA_CACHE_DIR=$folder/cache \
        qemu-aarch64-static -L "$root" "$root/usr/bin/python3" "$@"
}
arm -c 'import platform as p, numpy, numba; print(p.machine(), numpy.__version__, numba.__version__)'
arm -m pytest -q -W ignore -p no:cacheprovider tests/ops tests/arrays/test_packed.py \
    tests/engine/test_conv_fast.py tests/engine/test_strips.py tests/engine/test_engine.py
for machine in arm "$python"; do
    "$machine" -m refquant evaluate demo --data demo --results "$folder/$(basename "$machine").json"
done | tee "$folder/ap.txt"
cmp "$folder/arm.json" "$folder/$(basename "$python").json"
echo "every detection in the 360 images is the same, to the last bit"
