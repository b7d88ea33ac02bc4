"""Detect objects with an exported file; needs only onnxruntime, numpy and pillow.

python examples/detect_onnx.py slim.onnx photo.jpg [another.jpg ...]   # draws into found/
"""

import json
import sys
from pathlib import Path

import numpy as np
import onnxruntime
from PIL import Image, ImageDraw, ImageOps

MIN_SCORE = 0.4

session = onnxruntime.InferenceSession(sys.argv[1], providers=["CPUExecutionProvider"])
about = json.loads(session.get_modelmeta().custom_metadata_map["secateur"])

for name in sys.argv[2:]:
    if not Path(name).is_file():
        sys.exit(f"{name}: no such picture; correct its path")
    picture = ImageOps.exif_transpose(Image.open(name)).convert("RGB")  # by EXIF orientation
    size = (about["size"], about["size"]) if about["resize"] else picture.size
    pixels = np.asarray(picture.resize(size, Image.Resampling.BILINEAR))
    pictures = np.ascontiguousarray(pixels.transpose(2, 0, 1)[None])  # (1, 3, height, width)
    boxes, labels, scores = session.run(["boxes", "labels", "scores"], {"pictures": pictures})
    scale = np.divide(picture.size, size)  # boxes are in pixels of the network's input
    pen = ImageDraw.Draw(picture)
    for box, label, score in zip(boxes[0] * np.tile(scale, 2), labels[0], scores[0], strict=True):
        if score < MIN_SCORE:
            break  # scores descend; rows after the last object are zeros
        word = about["classes"][label - 1]
        corners = [round(float(side), 1) for side in box]
        print(json.dumps({"picture": name, "class": word, "score": float(score), "box": corners}))
        pen.rectangle(corners, outline="red", width=2)
        pen.text((corners[0] + 3, corners[1] + 1), f"{word} {score:.0%}", fill="red")
    if scores[0].max(initial=0) < MIN_SCORE:
        print(f"{name}: nothing found", file=sys.stderr)
    Path("found").mkdir(exist_ok=True)
    picture.save(Path("found", Path(name).stem + ".png"))
