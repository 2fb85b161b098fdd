"""Weights of an earlier refiner to begin a training with."""

from __future__ import annotations

from diffnerf_ns.refinement.unet import DepthRefinementUNet
from diffnerf_ns.refinement.weights_folder import content_of, weights_folder


def take_weights(unet: DepthRefinementUNet, model: str) -> None:
    """Copies the weights of a refiner into a network of the same shape; ValueError for one of another shape.

    Args:
        unet: the network, changed in place.
        model: "shipped", the folder of a refiner, or a hub id.
    """
    earlier = DepthRefinementUNet.from_pretrained(weights_folder(model), subfolder="unet", use_safetensors=True)
    own, other = ({name: tuple(values.shape) for name, values in net.state_dict().items()} for net in (unet, earlier))
    if differing := sorted(name for name in own.keys() | other.keys() if own.get(name) != other.get(name)):
        raise ValueError(
            f"initial_weights {model!r} are of a network of another shape ({len(differing)} tensors differ, among them "
            f"{differing[0]}): give its settings of `network`, or no initial_weights"
        )
    unet.load_state_dict(earlier.float().state_dict())


def content_name(model: str) -> str:
    """What tells these weights from others that go by the same name."""
    return content_of(weights_folder(model))[:12]
