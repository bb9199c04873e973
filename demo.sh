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

echo "This shows that the whole way works, not how well: the trunk's weights are random, the faces are drawn."

run caffe2torch sample $out/illust2vec.caffemodel --width 16
run caffe2torch convert $out/illust2vec.caffemodel -o $out/illust2vec
run finetune sample $out/pictures
run finetune train $out/pictures/faces --trunk $out/illust2vec --test $out/pictures/test -o $out/run
run onnx export $out/run
run onnx predict -m $out/run/model.onnx $out/pictures/test/*/000.png --top-k 3

echo
echo "All of it lies in $out. With real weights and pictures: see README.md."
