"""Faces in one picture by the network in torch: what training validates with, and what the ONNX file must equal."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image

from finetune.detector.network import ALIGNED, PADDING, Detector, prepared
from finetune.detector.scoring import suppressed
from finetune.detector.targets import edges

MOST_FOUND = 1000  # boxes of a picture that suppression leaves


@torch.inference_mode()
def find_faces(
    network: Detector, picture: np.ndarray, confidence: float = 0.3, iou: float = 0.4
) -> tuple[np.ndarray, np.ndarray]:
    """Boxes float32 [K, 4] in pixels of ``picture`` (uint8 [H, W, 3]) and scores float32 [K], best first."""
    height, width = picture.shape[:2]
    pictures = F.pad(torch.from_numpy(picture)[None], (0, 0, 0, -width % ALIGNED, 0, -height % ALIGNED), value=PADDING)
    logits, distances = network(prepared(pictures))
    scores = logits.sigmoid().flatten()
    boxes = edges(distances).reshape(-1, 4)
    boxes = torch.minimum(boxes, torch.tensor([width, height, width, height])).clamp(min=0)
    candidates, values = boxes[scores > confidence].numpy(), scores[scores > confidence].numpy()
    kept = suppressed(candidates, values, iou)[:MOST_FOUND]
    return candidates[kept], values[kept]


def fitted(picture: np.ndarray, longer: int) -> tuple[np.ndarray, float]:
    """The picture scaled so that its longer side is ``longer`` pixels, and the factor."""
    factor = longer / max(picture.shape[:2])
    size = round(picture.shape[1] * factor), round(picture.shape[0] * factor)
    return np.array(Image.fromarray(picture).resize(size, Image.Resampling.BILINEAR)), factor
