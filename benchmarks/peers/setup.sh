#!/usr/bin/env bash
# Environments of the projects that benchmarks compare with: bash benchmarks/peers/setup.sh [NAME...]
#   torch  Hugging Face transformers, PEFT and TRL on PyTorch (a few GB)
#   tunix  google-tunix on JAX
#   llama  llama.cpp
# Each is made once, in benchmarks/peers/environments/NAME; the model is written beside them for
# those that read Hugging Face files. Needs the project's own environment (make setup) for that.
set -euo pipefail
cd "$(dirname "$0")"
python=${PYTHON:-python3}

packages() {
  case $1 in
    torch) echo torch==2.13.0 transformers==5.23.0 peft==0.21.2 trl==1.16.0 ;;
    tunix) echo google-tunix==0.1.7 ;;
    llama) echo llama-cpp-python==0.3.36 ;;
    *) echo "unknown peer '$1': use torch, tunix or llama" >&2; return 2 ;;
  esac
}

for name in "${@:-torch tunix llama}"; do
  for peer in $name; do
    wanted=$(packages "$peer")
    environment=environments/$peer
    if [ "$(cat "$environment/made" 2>/dev/null)" = "$wanted" ]; then continue; fi
    echo "making the environment of $peer: $wanted"
    rm -rf "$environment"
    "$python" -m venv "$environment"
    # shellcheck disable=SC2086
    "$environment/bin/pip" install -q --disable-pip-version-check $wanted
    echo "$wanted" > "$environment/made"
  done
done

model=environments/model
if [ ! -f "$model/config.json" ]; then
  (cd ../.. && .venv/bin/python -m clawjax.models export --out "benchmarks/peers/$model")
fi
