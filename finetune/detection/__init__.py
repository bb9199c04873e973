"""Where the faces are: detectors in onnxruntime, what they find in pictures and videos, and how well. No torch."""

METHODS = {  # --method -> the module whose ``open_finder`` opens a model for it
    "model": "finetune.detection.session",
    "windows": "finetune.detection.windows",
    "dense": "finetune.detection.dense",
}
