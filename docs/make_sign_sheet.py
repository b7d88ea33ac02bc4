"""Draw docs/images/signs.png: detections of the quick start's slim network in test pictures.

Run it after ``make demo``.
"""

from pathlib import Path

from torch import stack
from torchvision.transforms.v2.functional import pil_to_tensor, resize, to_pil_image
from torchvision.utils import make_grid

from secateur.data.formats.signs import read_signs
from secateur.data.loaders import read_picture
from secateur.inference.draw import draw_detections
from secateur.models.network_file import load_network
from secateur.tasks.detection.detections import Detections
from secateur.tasks.detection.prediction import detect

SCORE = 0.4
ENLARGED = 2


def main() -> None:
    """Detect, draw and save."""
    network = load_network(Path("runs/quickstart/slim.safetensors"))
    size = network.architecture.size
    drawn = []
    for picture in read_signs(Path("data/signs"), "test", size=size).pictures[:21]:
        pixels = read_picture(picture)
        found = detect(network.model, pixels[None])[0]
        sure = found.scores >= SCORE
        large = resize(pixels, [ENLARGED * size, ENLARGED * size])
        boxes = Detections(ENLARGED * found.boxes[sure], found.labels[sure], found.scores[sure])
        drawn.append(pil_to_tensor(draw_detections(large, boxes, network.architecture.classes)))
    target = Path("docs/images/signs.png")
    target.parent.mkdir(exist_ok=True)
    sheet = to_pil_image(make_grid(stack(drawn), nrow=7, padding=4, pad_value=255))
    sheet.quantize(256).save(target, optimize=True)


if __name__ == "__main__":
    main()
