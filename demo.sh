#!/usr/bin/env bash
# The whole way on a small sample, some minutes on two cores. Every command is printed before its output.
set -euo pipefail

out=build/demo
rm -rf "$out"
mkdir -p "$out"

run() {
    printf '\n$ %s\n' "$*"
    "$@"
}

echo "The trunk's weights are random and the faces are drawn: real ones do better. --at auto finds that such a trunk is"
echo "best cut early. Guessing would name 0.10 of the ten characters' test pictures rightly."

run caffe2torch sample $out/illust2vec.caffemodel --width 16
run caffe2torch convert $out/illust2vec.caffemodel -o $out/illust2vec
run finetune sample $out/pictures
run finetune train $out/pictures/faces --trunk $out/illust2vec --at auto --head linear --lr 0.03 \
    --test $out/pictures/test -o $out/run
run onnx export $out/run
run onnx predict -m $out/run/model.onnx $out/pictures/test/*/000.png --top-k 2
run onnx detect $out/pictures/scenes/00[0-3].png --classify $out/run/model.onnx \
    --classify-margin $out/pictures/faces --overlay $out/scenes

echo
echo "All of it lies in $out: run/report.html shows the run, scenes/ whom it found. With real weights and pictures: README.md."
