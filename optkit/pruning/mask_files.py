"""Masks in a file beside a checkpoint, for Trainers that bring a model back by other means than its state dict.

transformers' Trainer loads a checkpoint's tensors into the model, masks among them. One whose model wraps others may
build the model anew from the folder, as those of sentence-transformers do, and lose what a plain model does not have.
"""

from __future__ import annotations

from pathlib import Path

from torch import Tensor, nn

from optkit.errors import PruningError
from optkit.pruning.masking import mask_of, raw_of
from optkit.pruning.pruner import Pruner

FILE = "optkit-masks.safetensors"
#: Where the Trainer saves the state dict of a model that is not one of transformers'.
_WEIGHTS = "model.safetensors"


class MaskFiles:
    """Keeps the masks of a Pruner in checkpoints, and knows when a load has brought weights without them.

    Args:
        pruner: whose masks they are. A load without masks then leaves them as they are, until ``restore``.
    """

    def __init__(self, pruner: Pruner):
        self.layers = {name: layer for bound in pruner.bound for name, layer in bound.layers.items()}
        #: Whether weights were loaded whose masks were not.
        self.pending = False
        self._hooks = [layer.register_load_state_dict_pre_hook(self._keep) for layer in self.layers.values()]

    def _keep(self, layer: nn.Module, state: dict, prefix: str, *_: object) -> None:
        inner, mask = f"{prefix}parametrizations.weight.", mask_of(layer)
        for name in mask.buffer_names():
            if f"{inner}original" in state and f"{inner}0.{name}" not in state:
                state[f"{inner}0.{name}"] = mask.get_buffer(name)
                self.pending = True

    def save(self, folder: Path) -> None:
        """Writes masks, and what criteria accumulated, into a checkpoint that does not hold them already."""
        from safetensors import safe_open
        from safetensors.torch import save_file

        tensors = {name: tensor for layer in self.layers for name, tensor in self._of(layer).items()}
        if (folder / _WEIGHTS).is_file():
            with safe_open(folder / _WEIGHTS, framework="pt") as opened:
                if tensors.keys() <= set(opened.keys()):
                    return
        if folder.is_dir():
            save_file({name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}, folder / FILE)

    def restore(self, folder: Path) -> None:
        """Gives the weights that were loaded from a checkpoint the masks that they were saved with.

        Raises:
            PruningError: if the folder has none, or not those of these weights.
        """
        from safetensors.torch import load_file

        if not (folder / FILE).is_file():
            raise PruningError(
                f"{folder / FILE}: not found, and the weights that were loaded have no masks without it: resume from a "
                "checkpoint of this training where it was written, in output_dir"
            )
        saved = load_file(folder / FILE)
        for name, layer in self.layers.items():
            names = list(self._of(name))
            mask = saved.get(f"{name}.weight_mask")
            loaded = raw_of(layer).detach()
            if any(key not in saved for key in names) or bool(loaded[~mask.to(loaded.device)].any()):
                raise PruningError(f"{folder / FILE}: not the masks of the weights that were loaded, first {name}")
            layer.load_state_dict(layer.state_dict() | {key.removeprefix(f"{name}."): saved[key] for key in names})
        self.pending = False

    def remove(self) -> None:
        """Lets loads without masks fail again."""
        for hook in self._hooks:
            hook.remove()

    def _of(self, name: str) -> dict[str, Tensor]:
        state = self.layers[name].state_dict()
        return {f"{name}.{key}": tensor for key, tensor in state.items() if key.startswith("weight_")}
