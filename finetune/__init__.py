"""Fine-tune a converted Caffe trunk on folders of pictures, export it to one ONNX file, run it with onnxruntime."""
