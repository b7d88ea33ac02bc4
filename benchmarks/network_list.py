"""The networks of ``networks.py``: names by package, sizes of their inputs, and how to build each.

The names were listed before any of them was tried on secateur: every kind of network that
torchvision has, one or more networks of every timm module with convolutions, every decoder of
segmentation_models_pytorch on encoders of many kinds, and ultralytics' definitions. Where a kind
has several sizes, the smallest are taken. All have random weights; nothing is downloaded.
"""

import contextlib
import io
from collections.abc import Callable
from importlib import import_module
from typing import Any

import torch
from torch import Tensor, nn

# Names by package, each with the side of its picture in pixels where it is not the package's.
NAMES: dict[str, str] = {
    "torchvision": """
        alexnet convnext_tiny densenet121 densenet161 densenet169 densenet201 efficientnet_b0
        efficientnet_b1 efficientnet_b2 efficientnet_b3 efficientnet_v2_s googlenet inception_v3@299
        maxvit_t@224 mnasnet0_5 mnasnet0_75 mnasnet1_0 mnasnet1_3 mobilenet_v2 mobilenet_v3_large
        mobilenet_v3_small regnet_x_1_6gf regnet_x_400mf regnet_x_800mf regnet_y_1_6gf
        regnet_y_400mf regnet_y_800mf resnet18 resnet34 resnet50 resnet101 resnext50_32x4d
        wide_resnet50_2 shufflenet_v2_x0_5 shufflenet_v2_x1_0 shufflenet_v2_x1_5 shufflenet_v2_x2_0
        squeezenet1_0 squeezenet1_1 swin_t swin_v2_t vgg11 vgg11_bn vgg13_bn vgg16 vgg16_bn vgg19_bn
        vit_b_32@224 deeplabv3_mobilenet_v3_large deeplabv3_resnet50 fcn_resnet50
        lraspp_mobilenet_v3_large ssd300_vgg16@300 ssdlite320_mobilenet_v3_large@320
        retinanet_resnet50_fpn retinanet_resnet50_fpn_v2 fcos_resnet50_fpn
        fasterrcnn_mobilenet_v3_large_320_fpn fasterrcnn_mobilenet_v3_large_fpn
        fasterrcnn_resnet50_fpn fasterrcnn_resnet50_fpn_v2 keypointrcnn_resnet50_fpn
        maskrcnn_resnet50_fpn r3d_18 mc3_18 r2plus1d_18 s3d@224 mvit_v2_s@224 swin3d_t
        raft_small@128
        """,
    "timm": """
        bat_resnext26ts@256 botnet26t_256 halonet26t@256 lambda_resnet26t sebotnet33ts_256
        eca_resnext26ts gcresnet33ts gernet_s mobileone_s0 mobileone_s1 repvgg_a0 coat_tiny
        coat_lite_tiny convit_tiny convmixer_768_32 convnext_atto convnext_pico_ols convnextv2_atto
        cpubone_nano crossvit_9_240 cs3darknet_s cs3sedarknet_l cspdarknet53 cspresnet50
        cspresnext50 darknet53 cspnext_tiny davit_tiny densenetblur121d dla34 dla46_c dla46x_c
        dla60_res2net dla60_res2next dpn48b dpn68 dpn68b edgenext_xx_small edgenext_small
        efficientformer_l1 efficientformerv2_s0 efficientnet_lite0 efficientnet_es
        efficientnet_b0_gn efficientnet_b0_g16_evos efficientnet_cc_b0_4e efficientnetv2_rw_t
        fbnetc_100 mixnet_s mnasnet_small mobilenetv1_100 mobilenetv2_050 mobilenetv4_conv_small
        mobilenetv4_hybrid_medium spnasnet_100 tf_efficientnetv2_b0 tf_mixnet_s tinynet_e
        efficientvim_m1 efficientvit_b0 efficientvit_l1 efficientvit_m0 fasternet_t0 fastvit_t8
        fastvit_sa12 focalnet_tiny_srf gcvit_xxtiny ghostnet_050 ghostnetv2_100 ghostnetv3_050
        hardcorenas_a hgnet_tiny hgnetv2_b0 hiera_tiny_224 hrnet_w18_small hrnet_w18_small_v2
        iformer_t inception_next_atto inception_resnet_v2 inception_v4 lcnetv2_small levit_128s
        levit_conv_128s lowformer_b0 mambaout_femto coatnet_nano_rw_224 coatnext_nano_rw_224
        maxvit_nano_rw_256 poolformer_s12 poolformerv2_s12 convformer_s18 caformer_s18 mixer_s32_224
        resmlp_12_224 gmlp_ti16_224 fbnetv3_b lcnet_035 lcnet_050 mobilenetv3_small_050
        mobilenetv3_rw mobilevit_xxs mobilevitv2_050 mvitv2_tiny nasnetalarge nest_tiny
        nextvit_small nf_regnet_b0 nf_resnet26 nf_seresnet26 nf_ecaresnet26 eca_nfnet_l0 dm_nfnet_f0
        skresnet18 skresnet34 skresnext50_32x4d pit_ti_224 pnasnet5large pvt_v2_b0 rdnet_tiny
        regnetv_040 regnetx_002 regnety_002 regnetz_b16 regnetz_005 repghostnet_050 repvit_m0_9
        repvit_m1 res2net50_14w_8s res2net50_26w_4s res2next50 resnest14d resnest26d ecaresnet26t
        ecaresnext26t_32x4d resnet10t resnet14t resnet26d resnet33ts resnet50_gn resnetaa34d
        resnetblur18 resnetrs50 seresnet18 seresnext26d_32x4d wide_resnet50_2 resnetv2_18
        resnetv2_50 resnetv2_50d_evos resnetv2_50d_frn resnetv2_50d_gn resnetv2_50x1_bit rexnet_100
        rexnetr_100 selecsls42 selecsls60b legacy_seresnet18 legacy_seresnext26_32x4d sequencer2d_s
        shvit_s1 starnet_s050 starnet_s1 swiftformer_xs swin_tiny_patch4_window7_224
        swinv2_cr_tiny_ns_224 tiny_vit_5m_224 tnt_s_patch16_224 tresnet_m tresnet_v2_l
        twins_pcpvt_small twins_svt_small visformer_tiny vit_tiny_patch16_224
        vit_small_resnet26d_224 vitamin_small_224 volo_d1_224 vovnet39a ese_vovnet19b_slim
        ese_vovnet19b_dw eca_vovnet39b legacy_xception xception41 xception41p xcit_nano_12_p16_224
        """,
    "segmentation_models_pytorch": """
        Unet:resnet18 Unet:vgg11_bn Unet:mobilenet_v2 Unet:efficientnet-b0 Unet:densenet121
        Unet:mit_b0 Unet:timm-skresnet18 UnetPlusPlus:resnet18 UnetPlusPlus:mobileone_s0
        MAnet:resnet18 MAnet:se_resnext50_32x4d Linknet:resnet18 Linknet:mobilenet_v2 FPN:resnet18
        FPN:dpn68 FPN:efficientnet-b1 PSPNet:resnet18 PSPNet:densenet121 PAN:resnet18@128
        PAN:mobilenet_v2@128 DeepLabV3:resnet18 DeepLabV3Plus:resnet18 DeepLabV3Plus:mobilenet_v2
        Segformer:mit_b0 Segformer:resnet18 UPerNet:resnet18 UPerNet:mit_b0
        """,
    "ultralytics": """
        yolov3-tiny yolov5n yolov5n-p6 yolov6n yolov8n yolov8n-p2 yolov8n-ghost yolov8n-cls
        yolov8n-seg yolov8n-pose yolov8n-obb yolov9t yolov9s yolov10n yolo11n yolo11n-cls
        yolo11n-seg yolo11n-pose yolo11n-obb yolo12n yolo12n-cls yolo26n yolo26n-seg rtdetr-l
        """,
}  # fmt: skip

# Side of the picture where a name has none, and where the network does not demand one.
SIDES = {"torchvision": 96, "timm": 96, "segmentation_models_pytorch": 96, "ultralytics": 128}
VIDEOS = ("r3d_18", "mc3_18", "r2plus1d_18", "s3d", "mvit_v2_s", "swin3d_t")
# By the ending of an ultralytics definition; DetectionModel for the others.
TASKS = {
    "-cls": "ClassificationModel",
    "-seg": "SegmentationModel",
    "-pose": "PoseModel",
    "-obb": "OBBModel",
}


def names() -> list[str]:
    """Return every network as ``package/name``."""
    return [
        f"{package}/{each.partition('@')[0]}"
        for package, some in NAMES.items()
        for each in some.split()
    ]


def build(name: str) -> nn.Module:
    """Build a network of the list with random weights, in evaluation mode.

    Raises:
        ModuleNotFoundError: its package is not installed.
    """
    package, _, network = name.partition("/")
    with contextlib.redirect_stdout(io.StringIO()):
        return BUILDERS[package](network).eval()


def inputs(name: str, model: nn.Module) -> Any:
    """Return random example inputs: one picture, or what the network takes instead."""
    package, _, network = name.partition("/")
    sides = dict(each.partition("@")[::2] for each in NAMES[package].split())
    side = int(sides.get(network) or getattr(model, "demanded_side", SIDES[package]))
    if network in VIDEOS:
        return torch.randn(1, 3, 16, side, side)
    if network.startswith("raft"):
        return torch.randn(1, 3, side, side), torch.randn(1, 3, side, side)
    if "torchvision.models.detection" in type(model).__module__:
        return ([torch.rand(3, side, side)],)
    return torch.randn(1, 3, side, side)


def _torchvision(network: str) -> nn.Module:
    models = import_module("torchvision.models")
    settings: dict[str, Any] = {"weights": None}
    if network.startswith(
        ("deeplab", "fcn", "lraspp", "ssd", "retina", "fcos", "faster", "key", "mask")
    ):
        settings["weights_backbone"] = None
    if "rcnn" in network or network.startswith(("retina", "fcos")):
        settings["min_size"] = SIDES["torchvision"]  # 800 by default
    if network in ("googlenet", "inception_v3"):
        settings["init_weights"] = False  # its truncated normal takes half a minute
    if network.startswith("fcn"):
        settings["aux_loss"] = True
    built: nn.Module = models.get_model(network, **settings)
    return built


def _timm(network: str) -> nn.Module:
    model: nn.Module = import_module("timm").create_model(network, pretrained=False)
    default = model.pretrained_cfg
    if default["fixed_input_size"] or "vit" in network:
        model.demanded_side = default["input_size"][-1]
    return model


def _segmentation(network: str) -> nn.Module:
    decoder, _, encoder = network.partition(":")
    model: nn.Module = getattr(import_module("segmentation_models_pytorch"), decoder)(
        encoder, encoder_weights=None
    )
    return model


def _ultralytics(network: str) -> nn.Module:
    tasks = import_module("ultralytics.nn.tasks")
    kind = next((TASKS[end] for end in TASKS if network.endswith(end)), "DetectionModel")
    if network.startswith("rtdetr"):
        kind = "RTDETRDetectionModel"
    model: nn.Module = getattr(tasks, kind)(f"{network}.yaml", verbose=False)
    return model


BUILDERS: dict[str, Callable[[str], nn.Module]] = {
    "torchvision": _torchvision,
    "timm": _timm,
    "segmentation_models_pytorch": _segmentation,
    "ultralytics": _ultralytics,
}


def awaken(model: nn.Module) -> None:
    """Draw what a definition sets to a constant, so that no channel is dead and no two are alike.

    Norms and layer scales start as ones or almost zeros, with which a comparison of outputs would
    not notice most removals.
    """
    for path, tensor in model.named_parameters():
        if tensor.is_floating_point() and tensor.numel() > 1 and tensor.min() == tensor.max():
            with torch.no_grad():
                _draw(tensor, centred=path.endswith("bias"))
    for path, tensor in model.named_buffers():
        if path.endswith(("running_mean", "running_var")):
            _draw(tensor, centred=path.endswith("mean"))


def _draw(tensor: Tensor, *, centred: bool) -> None:
    if centred:
        tensor.normal_(0, 0.1)
    else:
        tensor.uniform_(0.5, 1.5)
