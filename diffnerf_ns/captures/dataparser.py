"""The `diffnerf-data` dataparser: nerfstudio-data in metres, with checked depth and, for scoring, reference depth."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from nerfstudio.data.dataparsers.base_dataparser import DataparserOutputs
from nerfstudio.data.dataparsers.nerfstudio_dataparser import Nerfstudio, NerfstudioDataParserConfig

from diffnerf_ns.captures.capture_checks import check_transforms, open_transforms
from diffnerf_ns.captures.capture_errors import CaptureError
from diffnerf_ns.depth_units import metres_per_unit_of
from diffnerf_ns.even_spread import evenly_spread

CAPTURE_POSES = "capture_camera_to_world"
"""Key of the metadata with the poses of the capture's file [N, 4, 4], metres; nerfstudio turns and rounds its own."""

FULL_SIZE_PREFIX = "depths_"
"""How nerfstudio asks for depth that was downscaled along with the images."""


@dataclass
class DiffnerfDataParserConfig(NerfstudioDataParserConfig):
    """Posed RGB-D captures in nerfstudio's transforms.json layout, kept in metres."""

    _target: type = field(default_factory=lambda: DiffnerfDataParser)
    """target class to instantiate"""
    auto_scale_poses: bool = False
    """Whether to scale the poses to fit in +/- 1; off, so that a scene unit is a metre."""
    depth_unit_scale_factor: float | None = None  # type: ignore[assignment]
    """Metres per stored depth unit; None takes transforms.json's `depth_unit_scale_factor`, or 0.001 without one."""
    reference_depth_folder: str | None = None
    """Folder inside the capture with reference depth, file names as in the sensor's depth; read only for scoring. None
    takes transforms.json's `depth_truth_file_path` where frames have one."""
    train_views: int | None = None
    """Number of training views, spread evenly over the capture; None for all."""


@dataclass
class DiffnerfDataParser(Nerfstudio):
    """Reads captures as nerfstudio-data does, after checking them."""

    config: DiffnerfDataParserConfig

    def _generate_dataparser_outputs(self, split: str = "train") -> DataparserOutputs:
        file, meta = open_transforms(self.config.data)
        check_transforms(file, meta)
        self.config = _config_for(self.config, meta)
        outputs = super()._generate_dataparser_outputs(_split_to_read(split, meta))
        if split == "train" and self.config.train_views is not None:
            outputs = _with_views(outputs, _training_views(len(outputs.image_filenames), self.config.train_views, file))
        truth = self._reference_depth_files(file.parent, meta)
        metadata = {
            **outputs.metadata,
            "depth_truth_filenames": [truth.get(image) for image in outputs.image_filenames] if truth else None,
            CAPTURE_POSES: self._capture_poses(file.parent, meta, outputs.image_filenames),
        }
        return replace(outputs, metadata=metadata)

    def _get_fname(self, filepath: Path, data_dir: Path, downsample_folder_prefix: str = "images_") -> Path:
        """As in nerfstudio, but depth is read at its full size: the dataset resamples it without mixing holes."""
        if downsample_folder_prefix == FULL_SIZE_PREFIX:
            return data_dir / filepath
        return super()._get_fname(filepath, data_dir, downsample_folder_prefix)

    def _capture_poses(self, folder: Path, meta: dict[str, Any], images: list[Path]) -> npt.NDArray[np.float64]:
        poses = {
            self._get_fname(Path(frame["file_path"]), folder): frame["transform_matrix"] for frame in meta["frames"]
        }
        return np.array([poses[image] for image in images], dtype=np.float64)

    def _reference_depth_files(self, folder: Path, meta: dict[str, Any]) -> dict[Path, Path]:
        files = {}
        for frame in meta["frames"]:
            reference = frame.get("depth_truth_file_path")
            if self.config.reference_depth_folder is not None:
                reference = Path(self.config.reference_depth_folder) / Path(frame["depth_file_path"]).name
            if reference is not None:
                files[self._get_fname(Path(frame["file_path"]), folder)] = folder / reference
        return files


def _config_for(config: DiffnerfDataParserConfig, meta: dict[str, Any]) -> DiffnerfDataParserConfig:
    """The settings with what the capture itself says, and with at least one frame held out where frames are few."""
    unit = config.depth_unit_scale_factor
    if unit is None:
        unit = metres_per_unit_of(meta)
    count = len(meta["frames"])
    largest_fraction = (count - 1.5) / count  # nerfstudio rounds up: this leaves one frame for evaluation
    return replace(
        config,
        depth_unit_scale_factor=unit,
        train_split_fraction=min(config.train_split_fraction, largest_fraction),
    )


def _training_views(available: int, wanted: int, file: Path) -> list[int]:
    if not 1 <= wanted <= available:
        raise CaptureError(
            file,
            "train_views",
            f"{wanted} views are asked for, the training split has {available}",
            f"Set train_views to a number from 1 to {available}, or leave it out to train on all.",
        )
    return evenly_spread(available, wanted)


def _with_views(outputs: DataparserOutputs, views: list[int]) -> DataparserOutputs:
    """The outputs with some of their views only."""
    depth_files = outputs.metadata.get("depth_filenames")
    return replace(
        outputs,
        image_filenames=[outputs.image_filenames[view] for view in views],
        mask_filenames=[outputs.mask_filenames[view] for view in views] if outputs.mask_filenames else None,
        cameras=outputs.cameras[torch.tensor(views)],
        metadata={
            **outputs.metadata,
            "depth_filenames": [depth_files[view] for view in views] if depth_files else depth_files,
        },
    )


def _split_to_read(split: str, meta: dict[str, Any]) -> str:
    """The split itself, or the other held-out one where a capture names only "val" or only "test"."""
    named: list[str] = [name for name in ("train", "val", "test") if f"{name}_filenames" in meta]
    if not named or split in named:
        return split
    return "val" if split == "test" else "test"
