#!/usr/bin/env bash
# What a user gets who installs the wheel and no more: the wheel in a fresh environment with the demo's extra (pictures and a judge's
# weights) and without the test extra, away from the checkout. The demo, a paired task and the commands that follow a sweep must run.
#
# usage: tests/plain_install.sh [PYTHON]
set -euo pipefail
root=$(cd "$(dirname "$0")/.." && pwd)
python=${1:-python3}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
started=$SECONDS

step() { printf '\n== %s (%d s)\n' "$*" $((SECONDS - started)); }

step "build the wheel"
# From a copy: setuptools would put into the wheel whatever an earlier build has left beside the packages.
mkdir "$work/source"
cp -r "$root"/{pyproject.toml,README.md,LICENSE,search_spaces,trainables,cluster,tuner} "$work/source"
"$python" -m venv "$work/venv"
export PATH="$work/venv/bin:$PATH"
unset PYTHONPATH VIRTUAL_ENV
python -m pip wheel --quiet --no-deps --wheel-dir "$work/dist" "$work/source"
wheel=$(echo "$work"/dist/*.whl)
(cd "$root" && find search_spaces trainables cluster tuner -name '*.py' -o -name '*.yaml') | sort > "$work/expected"
python -m zipfile --list "$wheel" | awk '$1 ~ /^(search_spaces|trainables|cluster|tuner)\// {print $1}' | sort > "$work/packed"
diff "$work/expected" "$work/packed"

step "install it"
python -m pip install --quiet "$wheel[demo]"
python -m pip check
if python -c "import pytest" 2> /dev/null; then
  echo "the extra test is here too, so this proves nothing" >&2
  exit 1
fi

# Pictures and specs are the checkout's, copied, so that nothing can be imported from it.
cp -r "$root/examples" "$work/examples"
cd "$work"
small=(--set budget.trials=1 --set budget.kimg=0.064 --set resources.workers=1 --set scheduler.grace_kimg=0.032)

step "the demo"
python examples/twemoji/images.py examples/twemoji/images
gansweep run examples/twemoji/sweep.yaml "${small[@]}" --set trial.evaluation.every_kimg=0.064 \
  --set 'trial.evaluation.metric=fid[efficientnet_lite2,64px,n=16]' \
  --set finalists.count=1 --set 'finalists.metric=fid[inception,299px,n=16]'
gansweep export sweeps/twemoji-smileys --out generator
gansweep sample generator --n 4 --out grid.png
test -s grid.png

step "a paired task"
gansweep run examples/tasks/denoising.yaml "${small[@]}" --set trial.pretrain_kimg=0 --set trial.evaluation.every_kimg=0.064 \
  --set 'trial.evaluation.metric=psnr[n=8]' --set 'trial.evaluation.also=["ssim[n=8]"]'
gansweep export sweeps/denoising --out denoiser
gansweep apply denoiser examples/twemoji/images/smileys/1f600.png --out applied
test -s applied/1f600.png
gansweep metrics examples/twemoji/images/smileys generator --metric 'fid[efficientnet_lite0,64px,n=16]'

step "a StyleGAN2"
gansweep import examples/stylegan2/source_32px.safetensors --out imported.safetensors
gansweep sample imported.safetensors --truncation 0.7 --n 4 --out stylegan2.png
test -s stylegan2.png
gansweep run examples/stylegan2/smileys.yaml "${small[@]}" --set trial.evaluation.every_kimg=0.064 \
  --set 'trial.evaluation.metric=fid[efficientnet_lite2,64px,n=16]' --set finalists=null --set 'try_first=[scale_shift]'

step "done"
