"""The networks that a recipe or a network file can name."""

from secateur.models import ssd, vgg
from secateur.models.architecture import NetworkBuilder

NETWORKS: dict[str, NetworkBuilder] = {
    "ssd300": ssd.BUILDER,
    "ssd512": ssd.BUILDER,
    "vgg16": vgg.BUILDER,
}
