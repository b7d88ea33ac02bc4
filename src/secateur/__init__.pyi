"""The public names: each import below is one, and runs when the name is first used."""

from secateur.config.recipe import load_recipe as load_recipe
from secateur.errors import SecateurError as SecateurError
from secateur.export.export import export_network as export_network
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
from secateur.pruning.compress import compress as compress
from secateur.pruning.graph.trace import channel_groups as channel_groups
from secateur.pruning.penalties import (
    GroupProximal as GroupProximal,
    L1Proximal as L1Proximal,
    L1Subgradient as L1Subgradient,
    Penalties as Penalties,
    apply_threshold as apply_threshold,
    group_proximal_step as group_proximal_step,
    l1_penalty as l1_penalty,
    make_penalty as make_penalty,
    proximal_step as proximal_step,
    prunable_blocks as prunable_blocks,
    prunable_weights as prunable_weights,
    zero_share as zero_share,
)
from secateur.pruning.removal import (
    mask_filters as mask_filters,
    remove_filters as remove_filters,
    verify_removal as verify_removal,
)
from secateur.pruning.result import Measure as Measure, PhaseResult as PhaseResult, Result as Result
from secateur.pruning.selection.select import (
    select_by_budget as select_by_budget,
    select_by_sparsity as select_by_sparsity,
    select_filters as select_filters,
)
from secateur.pruning.threshold import (
    search_threshold as search_threshold,
    thresholded as thresholded,
)
from secateur.run.pipeline import compress_recipe as compress_recipe

__version__: str
