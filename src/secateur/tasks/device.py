"""Where networks run."""

import torch


def best_device() -> torch.device:
    """The accelerator, if there is one."""
    accelerator = torch.accelerator.current_accelerator(check_available=True)
    return accelerator or torch.device("cpu")
