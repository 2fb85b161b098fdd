"""NYU Depth V2's labelled data set: what a Kinect measured, and the same depth with its holes filled in.

The file nyu_depth_v2_labeled.mat is HDF5 with MATLAB's order of axes: `images` [N, 3, W, H] 8 bit, `rawDepths` and
`depths` [N, W, H] metres. Images are read one by one. (Silberman et al., 2012.)
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch

from diffnerf_ns.refinement.training.posed_views import PosedViews
from diffnerf_ns.refinement.training.seeds import Stream, numpy_generator

BORDER_PX = 16
"""White margin of the images, which is cut off."""
STRIDE = 2
"""Each second pixel is used: 640 x 480 is more than the refiner works on."""
FOCAL_PX = 518.86
"""Focal length of the colour camera, pixels at 640 x 480."""
FARTHEST_RAW_M = 9.9
"""Raw depth beyond this is what the sensor writes where it saw nothing."""
DATASETS = ("images", "rawDepths", "depths")


class NyuSource:
    """Single images: there are no other views in the labelled data set."""

    def __init__(self, file: Path, splits: Path | None, filled_weight: float, views: int, seed: int) -> None:
        """
        Args:
            file: nyu_depth_v2_labeled.mat.
            splits: splits.mat, of which the training images are used; None for all images.
            filled_weight: how far depth that was filled in afterwards counts, 0..1.
            views: images of a pass.
            seed: of the training.
        """
        self.file, self.filled_weight, self.view_count, self.seed = Path(file), filled_weight, views, seed
        images = _check_layout(self.file)
        self.numbers = np.arange(images) if splits is None else training_numbers(Path(splits), images)
        self._open: Any = None

    def views(self, number: int) -> PosedViews:
        draw = numpy_generator(Stream.CHOICE, self.seed, number, 1)
        chosen = np.sort(draw.choice(self.numbers, self.view_count, replace=len(self.numbers) < self.view_count))
        images, raw, filled = (np.stack([self._file()[name][index] for index in chosen]) for name in DATASETS)
        image = torch.from_numpy(_reduced(images)).transpose(2, 3).float() / 255.0
        sensor = torch.from_numpy(_reduced(raw)).transpose(1, 2).float()
        truth = torch.from_numpy(_reduced(filled)).transpose(1, 2).float()
        sensor = torch.where(torch.isfinite(sensor) & (sensor < FARTHEST_RAW_M), sensor, 0.0).clamp(min=0.0)
        weight = torch.where(sensor > 0, 1.0, self.filled_weight) * (truth > 0)
        height, width = truth.shape[1:]
        focal = FOCAL_PX / STRIDE
        intrinsics = torch.tensor([[focal, 0.0, width / 2], [0.0, focal, height / 2], [0.0, 0.0, 1.0]])
        nothing = torch.zeros_like(sensor)
        cameras = intrinsics.repeat(len(chosen), 1, 1), torch.eye(4).repeat(len(chosen), 1, 1)
        return PosedViews(image.contiguous(), sensor, truth, weight, nothing, nothing, nothing, *cameras)

    def _file(self) -> Any:
        if self._open is None:
            import h5py

            self._open = h5py.File(self.file, "r")
        return self._open

    def __getstate__(self) -> dict[str, Any]:
        """Every process opens the file itself."""
        return {**self.__dict__, "_open": None}


def training_numbers(splits: Path, images: int) -> np.ndarray:
    """Numbers of the training images, from 0, of the official split (which counts from 1)."""
    try:
        import h5py

        with h5py.File(splits, "r") as file:
            stored = np.asarray(file["trainNdxs"])
    except OSError:
        stored = _from_old_matlab(splits)
    except KeyError as error:
        raise OSError(f"{splits} holds no trainNdxs: give the official splits.mat of NYU Depth V2") from error
    numbers = stored.reshape(-1).astype(np.int64) - 1
    if not len(numbers) or numbers.min() < 0 or numbers.max() >= images:
        raise OSError(f"{splits}: trainNdxs does not fit the {images} images of the data set")
    return numbers


def _from_old_matlab(splits: Path) -> np.ndarray:
    try:
        from scipy.io import loadmat

        return np.asarray(loadmat(splits)["trainNdxs"])
    except ImportError as error:
        raise OSError(f"{splits} is a MATLAB 5 file: install scipy to read it") from error
    except (OSError, ValueError, KeyError) as error:
        raise OSError(f"{splits} cannot be read ({error}): give the official splits.mat of NYU Depth V2") from error


def _check_layout(file: Path) -> int:
    """How many images there are; raises OSError for a file that is not the labelled data set."""
    import h5py

    remedy = "give nyu_depth_v2_labeled.mat as it is distributed"
    try:
        with h5py.File(file, "r") as opened:
            missing = [name for name in DATASETS if name not in opened]
            if missing:
                raise OSError(f"{file} holds no {', '.join(missing)}: {remedy}")
            shapes = [tuple(opened[name].shape) for name in DATASETS]  # pyright: ignore
    except OSError as error:
        if str(file) in str(error) and remedy in str(error):
            raise
        raise OSError(f"{file} cannot be read as HDF5 ({error}): {remedy}") from error
    count, _, width, height = shapes[0] if len(shapes[0]) == 4 else (0, 0, 0, 0)
    if shapes[0] != (count, 3, width, height) or shapes[1:] != [(count, width, height)] * 2:
        named = ", ".join(f"{name} {shape}" for name, shape in zip(DATASETS, shapes, strict=True))
        raise OSError(f"{file} holds {named}, not images [N, 3, W, H] and depths [N, W, H]: {remedy}")
    return count


def _reduced(stored: np.ndarray) -> np.ndarray:
    inside = stored[..., BORDER_PX:-BORDER_PX, BORDER_PX:-BORDER_PX]
    return np.ascontiguousarray(inside[..., ::STRIDE, ::STRIDE])
