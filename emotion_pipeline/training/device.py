"""Where networks run."""

import torch

from emotion_pipeline.errors import UserError


def device_of(name: str) -> torch.device:
    """Return the device of `runtime.device`; `auto` is the GPU where there is one."""
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        torch.empty(0, device=name)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        raise UserError(f"runtime.device: {name} cannot be used ({reason}); set it to auto or cpu") from error
    return torch.device(name)
