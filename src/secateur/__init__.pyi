"""The public names: each import below is one, and runs when the name is first used."""

from secateur.config.recipe import load_recipe as load_recipe
from secateur.errors import SecateurError as SecateurError
from secateur.export.export import export_network as export_network
from secateur.export.module_export import (
    ModuleExport as ModuleExport,
    export_model as export_model,
)
from secateur.export.target import Target as Target
from secateur.inference.predictor import Predictor as Predictor, open_predictor as open_predictor
from secateur.inference.torch_network import TorchNetwork as TorchNetwork
from secateur.models.module_file import (
    load_model as load_model,
    save as save,
    shrink_to as shrink_to,
)
from secateur.models.network_file import (
    load_network as load,
    load_network as load_network,
    save_network as save_network,
)
from secateur.pruning.compress import Calibration as Calibration, compress as compress
from secateur.pruning.graph.groups import (
    ChannelGraph as ChannelGraph,
    ChannelGroup as ChannelGroup,
)
from secateur.pruning.graph.trace import channel_groups as channel_groups
from secateur.pruning.penalties.group import (
    GroupProximal as GroupProximal,
    group_proximal_step as group_proximal_step,
)
from secateur.pruning.penalties.l1 import (
    L1Proximal as L1Proximal,
    L1Subgradient as L1Subgradient,
    l1_penalty as l1_penalty,
    proximal_step as proximal_step,
)
from secateur.pruning.penalties.penalty import Penalties as Penalties
from secateur.pruning.penalties.table import make_penalty as make_penalty
from secateur.pruning.reconstruction.reconstruct import (
    Reconstruction as Reconstruction,
    reconstruct as reconstruct,
)
from secateur.pruning.removal import (
    mask_filters as mask_filters,
    remove_filters as remove_filters,
)
from secateur.pruning.result import Measure as Measure, PhaseResult as PhaseResult, Result as Result
from secateur.pruning.selection.budget import Budget as Budget
from secateur.pruning.selection.goal import Goal as Goal
from secateur.pruning.selection.levels import Choice as Choice
from secateur.pruning.selection.select import (
    select_by_budget as select_by_budget,
    select_by_sparsity as select_by_sparsity,
    select_filters as select_filters,
)
from secateur.pruning.settings import (
    Method as Method,
    PenaltySettings as PenaltySettings,
    RemovalSettings as RemovalSettings,
    SelectionSettings as SelectionSettings,
    ThresholdSettings as ThresholdSettings,
)
from secateur.pruning.sparsity import (
    apply_threshold as apply_threshold,
    prunable_blocks as prunable_blocks,
    prunable_weights as prunable_weights,
    zero_share as zero_share,
)
from secateur.pruning.threshold import (
    search_threshold as search_threshold,
    thresholded as thresholded,
)
from secateur.pruning.verification import verify_removal as verify_removal
from secateur.run.pipeline import compress_recipe as compress_recipe

__version__: str
