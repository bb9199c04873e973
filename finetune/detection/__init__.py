"""Where the faces are: detectors in onnxruntime, what they find in pictures and videos, and how well. No torch."""
